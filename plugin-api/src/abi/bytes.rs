//! Bytes in, bytes out.
#![allow(unsafe_code)]

use abi_stable::StableAbi;
use abi_stable::std_types::RSlice;

/// Bytes that belong to the host: every pointer in here leads to host memory and host code, so a
/// value cannot dangle when the plugin that holds it is unloaded last.
#[repr(C)]
#[derive(StableAbi)]
pub struct HostBytes {
    ptr: *const u8,
    len: usize,
    owner: *const (),
    release: extern "C" fn(*const ()),
}

impl HostBytes {
    /// Wraps bytes of the host's.
    ///
    /// # Safety
    /// `ptr` and `len` name initialised memory that stays valid and unchanged until `release(owner)`
    /// is called; `release` may be called once, from any thread, and does not unwind.
    #[must_use]
    pub unsafe fn from_raw(
        ptr: *const u8,
        len: usize,
        owner: *const (),
        release: extern "C" fn(*const ()),
    ) -> Self {
        Self { ptr, len, owner, release }
    }

    /// Bytes that nobody needs to release.
    #[must_use]
    pub fn of_static(bytes: &'static [u8]) -> Self {
        extern "C" fn nothing(_: *const ()) {}
        Self { ptr: bytes.as_ptr(), len: bytes.len(), owner: std::ptr::null(), release: nothing }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `from_raw`'s caller promised that the memory is initialised and unchanged until
        // `release`, which only `drop` calls, after every borrow of `self` has ended; `of_static`
        // takes memory that is never released.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Drop for HostBytes {
    fn drop(&mut self) {
        (self.release)(self.owner);
    }
}

// SAFETY: the memory is immutable while it lives, and `from_raw` demands that `release` may be
// called from any thread.
unsafe impl Send for HostBytes {}
// SAFETY: as above: shared access only reads immutable memory.
unsafe impl Sync for HostBytes {}

/// One thing that waited in the host's mailbox.
///
/// `bytes` is the whole frame as it came off the wire; topic and payload are parts of it, so that
/// nothing is copied on the way in.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawEnvelope {
    /// An [`EnvelopeKind`](super::EnvelopeKind) code.
    pub kind: u8,
    /// Number of the socket it came in by, as `open_socket` returned it; -1 when there is none.
    pub socket: i32,
    /// The topic is `bytes[..topic_len]`.
    pub topic_len: usize,
    /// The payload is `bytes[payload_start..]`.
    pub payload_start: usize,
    /// The frame.
    pub bytes: HostBytes,
}

/// An envelope whose parts were found to lie within its frame, with a topic that is UTF-8. It is
/// looked at once: a topic is asked for several times a message.
pub(crate) struct CheckedEnvelope(RawEnvelope);

impl CheckedEnvelope {
    /// `None` when a part lies outside the frame or the topic is not UTF-8.
    pub(crate) fn of(raw: RawEnvelope) -> Option<Self> {
        let frame = raw.bytes.as_slice();
        std::str::from_utf8(frame.get(..raw.topic_len)?).ok()?;
        frame.get(raw.payload_start..)?;
        Some(Self(raw))
    }

    pub(crate) fn topic(&self) -> &str {
        let topic = self.0.bytes.as_slice().get(..self.0.topic_len).unwrap_or_default();
        // SAFETY: `of`, which alone makes values of this type, found these bytes to be UTF-8. They
        // are the same ever since: the envelope is private and nothing here changes it, and
        // `HostBytes` promises that its memory does not change either.
        unsafe { std::str::from_utf8_unchecked(topic) }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.0.bytes.as_slice().get(self.0.payload_start..).unwrap_or_default()
    }
}

/// Where the other side writes bytes that this side keeps: the callee never hands out memory.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ByteSink {
    target: *mut (),
    write: extern "C" fn(*mut (), RSlice<'_, u8>),
}

impl ByteSink {
    /// A sink that appends to `target` for as long as the returned value is used.
    ///
    /// # Safety
    /// Every copy of the sink must be gone before `target` is read, moved or dropped. In practice:
    /// pass it to one call across the boundary, which keeps no copy.
    #[must_use]
    pub unsafe fn appending_to(target: &mut Vec<u8>) -> Self {
        extern "C" fn append(target: *mut (), bytes: RSlice<'_, u8>) {
            let append = || {
                // SAFETY: `target` was made from `&mut Vec<u8>` in `appending_to`, whose caller
                // promised that the vector is not touched while the sink is in use.
                let target = unsafe { &mut *target.cast::<Vec<u8>>() };
                target.extend_from_slice(bytes.as_slice());
            };
            // Allocation failure aborts rather than unwinds; the guard is for capacity overflow.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(append));
        }
        Self { target: std::ptr::from_mut(target).cast(), write: append }
    }

    /// Hands `bytes` to the other side, which copies them.
    pub fn write(&self, bytes: &[u8]) {
        (self.write)(self.target, RSlice::from_slice(bytes));
    }
}
