//! `socket_options`: ZeroMQ's option names and values, checked before a socket exists.

use plugin_api::zmq::{SocketOptions, SocketRole, option_name};

use super::error::BusError;

macro_rules! options {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $min:literal ..= $max:literal;)+) => {
        /// An option that a configuration may set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SocketOption { $($(#[$meta])* $variant),+ }

        impl SocketOption {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// ZeroMQ's name, without `ZMQ_`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The least and the greatest value.
            #[must_use]
            pub const fn range(self) -> (i64, i64) {
                match self { $(Self::$variant => ($min, $max)),+ }
            }
        }
    };
}

options! {
    /// Messages kept for each peer that reads slowly. Never 0, which would mean without bound.
    SndHwm = "SNDHWM", 1 ..= 10_000_000;
    /// Messages kept from each peer until the host reads them. Never 0, which would mean without bound.
    RcvHwm = "RCVHWM", 1 ..= 10_000_000;
    /// Milliseconds that a closing socket may go on sending. Never -1, which would mean for ever.
    Linger = "LINGER", 0 ..= 60_000;
    /// Accepted and without effect: the host's sends never block.
    SndTimeo = "SNDTIMEO", -1 ..= 2_147_483_647;
    /// Accepted and without effect: the host's receives never block.
    RcvTimeo = "RCVTIMEO", -1 ..= 2_147_483_647;
    /// Keeps only the newest message.
    Conflate = "CONFLATE", 0 ..= 1;
    /// TCP keep-alive: -1 as the system does.
    TcpKeepalive = "TCP_KEEPALIVE", -1 ..= 1;
    /// Keep-alive probes before giving up: -1 as the system does.
    TcpKeepaliveCnt = "TCP_KEEPALIVE_CNT", -1 ..= 127;
    /// Seconds of silence before the first probe: -1 as the system does.
    TcpKeepaliveIdle = "TCP_KEEPALIVE_IDLE", -1 ..= 32_767;
    /// Seconds between two probes: -1 as the system does.
    TcpKeepaliveIntvl = "TCP_KEEPALIVE_INTVL", -1 ..= 32_767;
    /// Milliseconds before the first attempt to reconnect.
    ReconnectIvl = "RECONNECT_IVL", 1 ..= 3_600_000;
    /// Milliseconds that the doubling interval grows to; 0: it does not grow.
    ReconnectIvlMax = "RECONNECT_IVL_MAX", 0 ..= 3_600_000;
    /// Milliseconds that one attempt to connect may take; 0 as the system does.
    ConnectTimeout = "CONNECT_TIMEOUT", 0 ..= 3_600_000;
    /// Milliseconds between heartbeats; 0: none.
    HeartbeatIvl = "HEARTBEAT_IVL", 0 ..= 6_553_500;
    /// Milliseconds without any answer after which the connection is given up.
    HeartbeatTimeout = "HEARTBEAT_TIMEOUT", 0 ..= 6_553_500;
    /// Milliseconds without heartbeat after which the peer gives the connection up.
    HeartbeatTtl = "HEARTBEAT_TTL", 0 ..= 6_553_500;
    /// Milliseconds that a handshake may take. Never 0, which would mean for ever.
    HandshakeIvl = "HANDSHAKE_IVL", 1 ..= 3_600_000;
    /// Bytes of the largest message that is received. Never -1, which would mean without bound.
    MaxMsgSize = "MAXMSGSIZE", 1 ..= 4_294_967_296;
    /// 1: queue only for peers whose connection stands.
    Immediate = "IMMEDIATE", 0 ..= 1;
    /// 1: IPv6 as well.
    Ipv6 = "IPV6", 0 ..= 1;
    /// The system's send buffer in bytes; -1 as the system does.
    SndBuf = "SNDBUF", -1 ..= 2_147_483_647;
    /// The system's receive buffer in bytes; -1 as the system does.
    RcvBuf = "RCVBUF", -1 ..= 2_147_483_647;
    /// Connections that may wait to be accepted.
    Backlog = "BACKLOG", 1 ..= 65_535;
    /// Type of service of the IP packets.
    Tos = "TOS", 0 ..= 255;
}

/// Checks a table of options.
///
/// # Errors
/// With the first name or value that is not known, or makes no sense for the role.
pub fn parse(
    options: &SocketOptions,
    role: SocketRole,
) -> Result<Vec<(SocketOption, i64)>, BusError> {
    let mut parsed: Vec<(SocketOption, i64)> = Vec::with_capacity(options.len());
    for (name, value) in options {
        let option = find(name)?;
        let (min, max) = option.range();
        if !(min..=max).contains(value) {
            let error =
                BusError::new(format!("socket option {name} = {value} is outside {min}..={max}"));
            return Err(match unbounded(option, *value) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        if parsed.iter().any(|(other, _)| *other == option) {
            return Err(BusError::new(format!("socket option {} is given twice", option.name()))
                .hint(format!(
                    "names are the same with and without ZMQ_ and in any case; drop {name}"
                )));
        }
        let receives = matches!(role, SocketRole::Subscriber | SocketRole::Pull);
        if matches!(option, SocketOption::SndHwm) && receives {
            tracing::debug!(option = name, role = ?role, "option without effect on a socket that only receives");
        }
        parsed.push((option, *value));
    }
    Ok(parsed)
}

fn find(name: &str) -> Result<SocketOption, BusError> {
    let bare = option_name(name);
    if let Some(option) = SocketOption::ALL.iter().find(|option| option.name() == bare) {
        return Ok(*option);
    }
    let nearest = SocketOption::ALL
        .iter()
        .map(|option| (strsim::jaro_winkler(option.name(), &bare), option.name()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.8);
    let error = BusError::new(format!("unknown socket option {name}"));
    Err(match nearest {
        Some((_, nearest)) => error.hint(format!("did you mean {nearest}?")),
        None => {
            let names: Vec<_> = SocketOption::ALL.iter().map(|option| option.name()).collect();
            error.hint(format!("the options are {}", names.join(", ")))
        }
    })
}

fn unbounded(option: SocketOption, value: i64) -> Option<String> {
    let meaning = match (option, value) {
        (SocketOption::SndHwm | SocketOption::RcvHwm, 0) => "0 would queue without bound",
        (SocketOption::MaxMsgSize, -1) => "-1 would take messages of any size",
        (SocketOption::Linger, -1) => "-1 would keep the host from ever ending",
        (SocketOption::HandshakeIvl, 0) => "0 would wait for ever on a silent peer",
        _ => return None,
    };
    Some(format!("{meaning}; choose a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: i64) -> Result<Vec<(SocketOption, i64)>, BusError> {
        parse(&SocketOptions::from([(name.to_owned(), value)]), SocketRole::Publisher)
    }

    #[test]
    fn names_come_in_any_case_with_or_without_prefix() {
        for name in ["SNDHWM", "sndhwm", "ZMQ_SNDHWM", "zmq_SndHwm"] {
            assert_eq!(check(name, 5), Ok(vec![(SocketOption::SndHwm, 5)]));
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let error = check("SNDHMW", 5).expect_err("misspelt");
        assert_eq!(error.to_string(), "unknown socket option SNDHMW (hint: did you mean SNDHWM?)");
        let error = check("qqq", 5).expect_err("nothing like it");
        assert!(error.hint.is_some_and(|hint| hint.contains("LINGER")));
    }

    #[test]
    fn values_are_bounded_at_both_ends() {
        for option in SocketOption::ALL {
            let (min, max) = option.range();
            assert!(check(option.name(), min).is_ok() && check(option.name(), max).is_ok());
            assert!(
                check(option.name(), min - 1).is_err() && check(option.name(), max + 1).is_err()
            );
        }
        let error = check("linger", -1).expect_err("for ever");
        assert!(error.hint.is_some_and(|hint| hint.contains("ever ending")));
    }

    #[test]
    fn the_same_option_twice_is_refused() {
        let table = [("LINGER".to_owned(), 1), ("zmq_linger".to_owned(), 2)];
        assert!(parse(&SocketOptions::from(table), SocketRole::Push).is_err());
    }
}
