//! `exphost stats`: what the host has counted of its services and their sockets.

use comfy_table::{CellAlignment, Table, TableStyle};
use plugin_api::stats::{Dropped, SocketStatistics, Statistics};

use super::reports::{duration, plain};
use super::{Common, Exit, output, running};
use crate::control::protocol::{Counted, Request};
use crate::environment::Process;

pub(super) fn stats(
    common: &Common,
    process: &Process<'_>,
    service: Option<String>,
    json: bool,
) -> Exit {
    let mut client = match running::connect(common, process) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let mut items = Vec::new();
    if let Err(no_answer) = client.ask(&Request::Stats { service }, |item| items.push(item)) {
        return running::complain(no_answer);
    }
    if json {
        output::json(&items);
        return Exit::Done;
    }
    if items.is_empty() {
        output::line("no services");
    }
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            output::line("");
        }
        match serde_json::from_value::<Counted>(item) {
            Ok(counted) => text(&counted).iter().for_each(|line| output::line(line)),
            Err(error) => return running::not_understood(&error),
        }
    }
    Exit::Done
}

/// The sums of a service, what was lost, and a line for each of its sockets.
fn text(counted: &Counted) -> Vec<String> {
    let Counted { service, uptime, statistics: it } = counted;
    let up = uptime.map_or_else(|| "does not run".to_owned(), |up| format!("up {}", duration(up)));
    let mut lines = vec![
        format!("{}: {up}", plain(service)),
        format!(
            "  received {} ({} bytes), handled {}, unhandled {}, waiting {} (at most {})",
            it.messages_received,
            it.bytes_received,
            it.handled,
            it.unhandled,
            it.queue_depth,
            it.queue_high_mark
        ),
        format!(
            "  sent {} ({} bytes), within this host {}, reconnects {}",
            it.messages_sent, it.bytes_sent, it.delivered_locally, it.reconnects
        ),
        format!(
            "  errors {}, of handlers {}, panics {}, bad frames {}, missed {}",
            it.errors, it.handler_errors, it.panics, it.bad_frames, it.missed
        ),
    ];
    lines.extend(dropped(it).map(|causes| format!("  dropped {}: {causes}", it.dropped)));
    lines.extend(sockets(it));
    lines
}

/// `mailbox_full 3, failed 1`; nothing when nothing was dropped.
fn dropped(statistics: &Statistics) -> Option<String> {
    let causes = statistics.dropped_by.by_cause().into_iter().filter(|(_, count)| *count > 0);
    let causes: Vec<_> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
    (statistics.dropped > 0 || !causes.is_empty()).then(|| causes.join(", "))
}

fn sockets(statistics: &Statistics) -> Vec<String> {
    const HEADER: [&str; 9] = [
        "SOCKET",
        "ENDPOINT",
        "SENT",
        "RECEIVED",
        "WAITING",
        "DROPPED",
        "PEERS",
        "JOINED",
        "RECONNECTS",
    ];
    if statistics.sockets.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(HEADER);
    for socket in &statistics.sockets {
        table.add_row(row(socket));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string().lines().map(|line| format!("  {}", line.trim_end())).collect()
}

fn row(socket: &SocketStatistics) -> [String; 9] {
    let endpoint = format!("{} {}", if socket.bind { "bind" } else { "connect" }, socket.endpoint);
    [
        plain(&socket.key),
        plain(&endpoint),
        socket.sent.to_string(),
        socket.received.to_string(),
        socket.queue_depth.to_string(),
        sum(&socket.dropped).to_string(),
        socket.connections.to_string(),
        socket.joined.to_string(),
        socket.reconnects.to_string(),
    ]
}

fn sum(dropped: &Dropped) -> u64 {
    dropped.by_cause().iter().map(|(_, count)| count).sum()
}
