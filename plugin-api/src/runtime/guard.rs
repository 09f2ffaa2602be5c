//! Author code, run so that a panic ends in an error.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::error::{Error, ErrorKind, Result};

/// Awaits `future`; a panic becomes an error of kind [`ErrorKind::Panicked`].
pub(crate) async fn guarded<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(result) => result,
        Err(payload) => {
            Err(Error::of(ErrorKind::Panicked, format!("panicked: {}", panic_message(payload))))
        }
    }
}

/// What a panic said. The payload is not dropped, as its own drop might panic again.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    std::mem::forget(payload);
    message
}
