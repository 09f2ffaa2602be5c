//! What the bus is told, and what it would say to the sockets, before there is one.

use plugin_api::zmq::SocketSpec;

use crate::bus::BusConfig;
use crate::bus::transport::TransportKind;
use crate::config::endpoints::Endpoint;
use crate::problem::Problem;
use crate::project::HostSettings;

/// The bus as `[bus]` wants it.
pub(super) fn bus_config(settings: &HostSettings) -> BusConfig {
    let (bus, default) = (&settings.bus, BusConfig::default());
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    BusConfig {
        transport: bus
            .transport
            .as_deref()
            .and_then(TransportKind::of_name)
            .unwrap_or(default.transport),
        zeromq_beyond_loopback: bus
            .zeromq_beyond_loopback
            .unwrap_or(default.zeromq_beyond_loopback),
        io_threads: bus
            .io_threads
            .map_or(default.io_threads, |n| u8::try_from(n).unwrap_or(u8::MAX)),
        max_message_size: bus.max_message_size.map_or(default.max_message_size, bytes),
        high_water_mark: bus.high_water_mark.unwrap_or(default.high_water_mark),
        linger: bus.linger.unwrap_or(default.linger),
        outbox_messages: bus.outbox_messages.unwrap_or(default.outbox_messages),
        outbox_bytes: bus.outbox_bytes.unwrap_or(default.outbox_bytes),
        ..default
    }
}

/// The sockets that the chosen transport would not open.
pub(super) fn refused(endpoints: &[Endpoint], bus: &BusConfig) -> Vec<Problem> {
    let refused = |it: &Endpoint| {
        let (address, port) = match it.endpoint.rsplit_once(':') {
            Some((address, port)) if address.starts_with("tcp://") => (address, port.parse().ok()?),
            _ => (it.endpoint.as_str(), 0),
        };
        let spec = SocketSpec::new(it.role, &it.key, address, port, it.bind);
        let error = bus.refuses(&spec)?;
        let mut problem =
            Problem::error(format!("`{}` ({}): {}", it.service, it.key, error.message));
        problem.hint = error.hint;
        if let Some(file) = &it.file {
            problem = problem.in_file(file);
        }
        Some(match &it.position {
            Some(position) => problem.at(position.line, position.column),
            None => problem,
        })
    };
    endpoints.iter().filter_map(refused).collect()
}

#[cfg(test)]
mod tests {
    use plugin_api::zmq::SocketRole;

    use super::*;

    fn endpoint(endpoint: &str, bind: bool) -> Endpoint {
        Endpoint {
            service: "core".to_owned(),
            key: "zmq.publisher".to_owned(),
            role: SocketRole::Publisher,
            endpoint: endpoint.to_owned(),
            bind,
            file: Some("core.toml".into()),
            position: None,
        }
    }

    #[test]
    fn only_what_the_transport_would_not_open_is_refused() {
        let endpoints = [
            endpoint("tcp://*:5555", true),
            endpoint("tcp://127.0.0.1:5556", true),
            endpoint("tcp://10.0.0.5:5557", false),
            endpoint("ipc:///run/x.sock", true),
            endpoint("nonsense", true),
        ];
        let on = |transport| BusConfig { transport, ..BusConfig::default() };
        let problems = refused(&endpoints, &on(TransportKind::Zeromq));
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let line = problems[0].one_line();
        assert!(line.contains("`core` (zmq.publisher): tcp://*:5555"), "{line}");
        assert!(refused(&endpoints, &on(TransportKind::Libzmq)).is_empty());
    }
}
