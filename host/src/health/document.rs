//! What is in a health file. The names are those of the Python services, which read it.

use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::DateTime};
use plugin_api::state::HealthStatus;
use plugin_api::stats::Statistics;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::service::health::{Check, View};

/// What the supervisor knows of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Since when its present instance runs.
    pub began: Option<Instant>,
    /// How often it was started again after a failure.
    pub restarts: u64,
}

/// A health file.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    service_name: &'a str,
    overall_status: HealthStatus,
    checks: Vec<CheckDocument<'a>>,
    last_updated: String,
    last_check: String,
    uptime: f64,
    restart_count: u64,
    error_count: u64,
    messages_sent: u64,
    messages_received: u64,
}

#[derive(Debug, Serialize)]
struct CheckDocument<'a> {
    name: &'a str,
    status: HealthStatus,
    message: &'a str,
    timestamp: String,
    metadata: Value,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        service: &'a str,
        health: &'a View,
        counted: &Statistics,
        facts: Facts,
        now: Timestamp,
    ) -> Self {
        let zone = TimeZone::system();
        let last = health.checks.last().map_or(now, |(_, check)| check.at);
        let check = |(name, check): &'a (String, Check)| CheckDocument {
            name,
            status: check.status,
            message: &check.message,
            timestamp: local(check.at, &zone),
            metadata: object(&check.metadata),
        };
        Self {
            service_name: service,
            overall_status: health.overall,
            checks: health.checks.iter().map(check).collect(),
            last_updated: local(now, &zone),
            last_check: local(last, &zone),
            uptime: facts.began.map_or(0.0, |began| seconds(began.elapsed())),
            restart_count: facts.restarts,
            error_count: health.error_count,
            messages_sent: counted.messages_sent,
            messages_received: counted.messages_received,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Text, numbers and maps with text for keys: nothing in it can fail to be JSON.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

fn seconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// ISO 8601 in local time without a zone, with the six digits that Python's own has.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    let local: DateTime = at.to_zoned(zone.clone()).datetime();
    local.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// Readers expect an object; a service may have given anything, or nothing.
fn object(metadata: &Value) -> Value {
    match metadata {
        Value::Object(_) => metadata.clone(),
        Value::Null => Value::Object(Map::new()),
        other => Value::Object(Map::from_iter([("value".to_owned(), other.clone())])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_are_those_of_the_python_services() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |status, metadata, second| Check {
            status,
            message: "as it is".to_owned(),
            metadata,
            at: at(second),
        };
        let view = View {
            overall: HealthStatus::Warning,
            checks: vec![
                ("disk".to_owned(), check(HealthStatus::Warning, Value::Null, 10)),
                ("camera".to_owned(), check(HealthStatus::Healthy, json!({"fps": 15}), 20)),
                ("odd".to_owned(), check(HealthStatus::Healthy, json!(7), 20)),
            ],
            error_count: 3,
        };
        let counted =
            Statistics { messages_sent: 5, messages_received: 6, ..Statistics::default() };
        let facts = Facts { began: None, restarts: 2 };
        let document = Document::new("core", &view, &counted, facts, at(30));
        let json: Value = serde_json::from_slice(&document.to_json()).unwrap();
        let zone = TimeZone::system();
        let expected = json!({
            "service_name": "core", "overall_status": "warning",
            "checks": [
                {"name": "disk", "status": "warning", "message": "as it is",
                    "timestamp": local(at(10), &zone), "metadata": {}},
                {"name": "camera", "status": "healthy", "message": "as it is",
                    "timestamp": local(at(20), &zone), "metadata": {"fps": 15}},
                {"name": "odd", "status": "healthy", "message": "as it is",
                    "timestamp": local(at(20), &zone), "metadata": {"value": 7}},
            ],
            "last_updated": local(at(30), &zone), "last_check": local(at(20), &zone),
            "uptime": 0.0, "restart_count": 2, "error_count": 3,
            "messages_sent": 5, "messages_received": 6,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn times_are_local_and_have_no_zone() {
        let berlin = TimeZone::fixed(jiff::tz::offset(2));
        let at = Timestamp::from_microsecond(1_500_000).unwrap();
        assert_eq!(local(at, &berlin), "1970-01-01T02:00:01.500000");
    }
}
