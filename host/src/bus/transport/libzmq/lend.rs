//! Frames lent to libzmq: a large one goes out of the memory that it already is in.
//!
//! The binding has no message that owns something else, so this is the one file that calls the
//! functions below it.
#![allow(unsafe_code, reason = "libzmq is told to read memory that Rust owns")]

use std::ffi::{c_int, c_void};

use bytes::Bytes;
use zmq_sys2::{zmq_errno, zmq_msg_close, zmq_msg_init_data, zmq_msg_send, zmq_msg_t};
use zmq2::{DONTWAIT, Error, Socket};

use crate::bus::transport::COPY_UP_TO;

/// Sends a frame without waiting. A small one is copied; of a large one libzmq holds a counted
/// reference until every peer has it, or is gone.
pub(super) fn send(socket: &mut Socket, frame: &Bytes) -> zmq2::Result<()> {
    if frame.len() <= COPY_UP_TO {
        return socket.send(&frame[..], DONTWAIT);
    }
    let mut lent = Lent::new(frame)?;
    // SAFETY: the socket is open and this thread's for the time of the call, as `&mut` says; the
    // message is initialised. libzmq takes its content only when it succeeds, and leaves an empty
    // message that may be closed like any other.
    let taken = unsafe { zmq_msg_send(&raw mut lent.0, socket.as_mut_ptr(), DONTWAIT as c_int) };
    // Before the message is closed, which may set errno.
    if taken == -1 { Err(last_error()) } else { Ok(()) }
}

/// A message of libzmq whose content is a [`Bytes`] of ours. Closed when it is dropped.
struct Lent(zmq_msg_t);

impl Lent {
    fn new(frame: &Bytes) -> zmq2::Result<Self> {
        // The frame of whoever sends may be gone before libzmq is done: it gets a reference of its
        // own, which has an address that does not move.
        let owner = Box::into_raw(Box::new(frame.clone()));
        let mut lent = zmq_msg_t::default();
        let data = frame.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: `data` and the length are those of `frame`, whose bytes stay where they are as
        // long as `owner` lives, which is until `release` is called, once. libzmq does not write to
        // the content of a message that it sends, so that it does not matter that others read it.
        let made = unsafe {
            zmq_msg_init_data(&raw mut lent, data, frame.len(), Some(release), owner.cast())
        };
        if made == -1 {
            let error = last_error();
            // SAFETY: a message that was not made never calls `release`; the box is still ours.
            drop(unsafe { Box::from_raw(owner) });
            return Err(error);
        }
        Ok(Self(lent))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and closed nowhere else. Fails only for what is no message.
        unsafe { zmq_msg_close(&raw mut self.0) };
    }
}

/// What libzmq calls when it needs the content no more, on whichever thread that is, its own I/O
/// threads among them. Dropping a [`Bytes`] does not panic: it counts down and frees; should one
/// ever do, the process ends here, for `extern "C"` does not let it unwind into libzmq.
unsafe extern "C" fn release(_: *mut c_void, owner: *mut c_void) {
    // SAFETY: `owner` is the box that `new` gave to this very message, and libzmq calls this once.
    // `Bytes` is `Send`, so that it may be dropped on any thread.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

fn last_error() -> Error {
    // SAFETY: reads a number of this thread.
    Error::from_raw(unsafe { zmq_errno() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends within this process, where libzmq hands over the message itself.
    fn pair() -> (Socket, Socket) {
        let context = zmq2::Context::new();
        let (push, pull) = (context.socket(zmq2::PUSH), context.socket(zmq2::PULL));
        let (push, pull) = (push.expect("a socket"), pull.expect("a socket"));
        pull.bind("inproc://lend").expect("bound");
        push.connect("inproc://lend").expect("connected");
        (push, pull)
    }

    #[test]
    fn the_memory_of_a_large_frame_is_shared_and_released() {
        let (mut push, pull) = pair();
        let frame = Bytes::from(vec![b'x'; COPY_UP_TO + 1]);
        send(&mut push, &frame).expect("sent");
        assert!(!frame.is_unique(), "lent");
        let received = pull.recv_msg(0).expect("received");
        assert_eq!(received.as_ptr(), frame.as_ptr(), "no copy was made");
        assert_eq!(&received[..], &frame[..]);
        drop(received);
        assert!(frame.is_unique(), "given back");
    }

    #[test]
    fn a_small_frame_is_copied() {
        let (mut push, pull) = pair();
        for size in [0, 1, COPY_UP_TO] {
            let frame = Bytes::from(vec![b'x'; size]);
            send(&mut push, &frame).expect("sent");
            assert_eq!(pull.recv_bytes(0).expect("received"), frame);
            assert!(size == 0 || frame.is_unique());
        }
    }

    #[test]
    fn what_nobody_takes_is_given_back_at_once() {
        let context = zmq2::Context::new();
        let mut push = context.socket(zmq2::PUSH).expect("a socket");
        let frame = Bytes::from(vec![b'x'; 1 << 20]);
        assert_eq!(send(&mut push, &frame), Err(Error::EAGAIN));
        assert!(frame.is_unique());
    }

    #[test]
    fn what_waits_in_a_socket_that_is_closed_is_given_back() {
        let (mut push, pull) = pair();
        let frames: Vec<Bytes> = (0..10).map(|_| Bytes::from(vec![b'x'; 1 << 16])).collect();
        for frame in &frames {
            send(&mut push, frame).expect("sent");
        }
        // The context goes with the last of them, and with it all that libzmq still holds.
        drop((push, pull));
        assert!(frames.iter().all(Bytes::is_unique));
    }
}
