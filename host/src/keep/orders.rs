//! The operator's stops, as they are kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::envelope::{self, Broken};

const KIND: &str = "orders";

/// Which services the operator has stopped, and when. A service that the project does not have at
/// present stays among them: its file may come back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    stopped: BTreeMap<String, Timestamp>,
}

impl Orders {
    /// The stopped ones, with the time of the order.
    #[must_use]
    pub const fn stopped(&self) -> &BTreeMap<String, Timestamp> {
        &self.stopped
    }

    /// The operator stops one.
    pub fn stop(&mut self, service: &str, at: Timestamp) {
        self.stopped.insert(service.to_owned(), at);
    }

    /// The operator starts one; whether it had been stopped.
    pub fn start(&mut self, service: &str) -> bool {
        self.stopped.remove(service).is_some()
    }

    /// As a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and times always have a JSON form.
        envelope::seal(KIND, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// What a file says.
    ///
    /// # Errors
    /// When it is not one of these.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Broken> {
        let body = envelope::open(KIND, bytes)?;
        serde_json::from_slice(body).map_err(|error| Broken::Senseless(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut orders = Orders::default();
        orders.stop("core", Timestamp::from_second(7).expect("a time"));
        assert_eq!(Orders::of_bytes(&orders.to_bytes()), Ok(orders.clone()));
        assert!(orders.start("core") && !orders.start("core"));
        assert_eq!(Orders::of_bytes(&orders.to_bytes()), Ok(Orders::default()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let senseless = envelope::seal(KIND, b"{\"stopped\": 7}");
        assert!(matches!(Orders::of_bytes(&senseless), Err(Broken::Senseless(_))));
    }
}
