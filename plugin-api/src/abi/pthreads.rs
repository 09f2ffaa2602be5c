//! What this library's code leaves in the process: its pthread keys and its threads.
//!
//! A library may be closed only when nothing leads into it any more. Two things that the standard
//! library makes on its own do: every copy of it takes a pthread key, whose destructor is its code and
//! which closing does not give back (a process has about a thousand), and threads run its code. So
//! `export_service!` gives the library `pthread_key_create`, `pthread_key_delete` and
//! `pthread_create` of its own, hidden symbols that everything in it is linked to. They end here,
//! write down what passes, and call the real ones.
//!
//! # Safety
//! These functions are called very early, in constructors and from within the first use of a
//! thread-local, by any thread. So they **touch no thread-local of the standard library, allocate
//! nothing and take no lock**: there are tables of fixed size, of atomics.
//!
//! * **A key is one bit**, by its number. It is cleared before the key is deleted, so that the
//!   same number, given out again at once, is not lost.
//! * **A thread has a slot** from before it is made until the kernel knows no such thread: it runs
//!   this library's code also after its start routine, in destructors of thread-locals. A slot's
//!   word holds a serial number beside the thread's, so that freeing a slot frees the thread that was
//!   looked at and no later one. Thread numbers are used again, so a thread that began after the
//!   one in the slot is another one.
//! * **What does not fit is counted** and never forgotten: then the library is not closed.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use libc::{pthread_attr_t, pthread_key_t, pthread_t};

use super::LiveThreads;

/// Why a library without the hooks cannot tell.
pub(crate) const NOT_HOOKED: &str =
    "it cannot count its threads and keys: it was not exported by export_service!";

type Destructor = unsafe extern "C" fn(*mut c_void);
type Start = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type KeyCreate = unsafe extern "C" fn(*mut pthread_key_t, Option<Destructor>) -> c_int;
type KeyDelete = unsafe extern "C" fn(pthread_key_t) -> c_int;
type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;

/// A function of the C library, looked up once.
struct Real {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

static KEY_CREATE: Real = Real::named(c"pthread_key_create");
static KEY_DELETE: Real = Real::named(c"pthread_key_delete");
static CREATE: Real = Real::named(c"pthread_create");

impl Real {
    const fn named(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// The function's address; null when there is none. The first call looks all three up: a lookup
    /// waits for the dynamic linker, which a constructor that waits for its thread may hold.
    fn get(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Acquire);
        if !known.is_null() {
            return known;
        }
        for real in [&KEY_CREATE, &KEY_DELETE, &CREATE] {
            // SAFETY: the name is a C string. The process's default scope does not have this
            // library's hidden symbols, so what is found is the C library's (or a sanitizer's,
            // which stands before it; RTLD_NEXT would miss that).
            let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, real.name.as_ptr()) };
            real.address.store(found, Ordering::Release);
        }
        self.address.load(Ordering::Acquire)
    }
}

/// Keys have numbers below this in glibc (`PTHREAD_KEYS_MAX`).
const MOST_KEYS: usize = 1024;

static KEYS: [AtomicU64; MOST_KEYS / 64] = [const { AtomicU64::new(0) }; MOST_KEYS / 64];
static UNCOUNTED_KEYS: AtomicUsize = AtomicUsize::new(0);

/// The word and the bit of a key.
fn place_of(key: pthread_key_t) -> Option<(&'static AtomicU64, u64)> {
    let key = key as usize;
    KEYS.get(key / 64).map(|word| (word, 1 << (key % 64)))
}

/// `pthread_key_create` of this library.
///
/// # Safety
/// As for the C function.
pub unsafe extern "C" fn key_create(
    key: *mut pthread_key_t,
    destructor: Option<Destructor>,
) -> c_int {
    let real = KEY_CREATE.get();
    if real.is_null() {
        return libc::EAGAIN;
    }
    // SAFETY: it is the C library's function of that name, so it has this type.
    let real = unsafe { std::mem::transmute::<*mut c_void, KeyCreate>(real) };
    // SAFETY: the caller's promise is the real function's.
    let code = unsafe { real(key, destructor) };
    if code == 0 {
        // SAFETY: the call succeeded, so it has written a key to where the caller pointed.
        match place_of(unsafe { *key }) {
            Some((word, bit)) => word.fetch_or(bit, Ordering::AcqRel),
            None => UNCOUNTED_KEYS.fetch_add(1, Ordering::AcqRel) as u64,
        };
    }
    code
}

/// `pthread_key_delete` of this library. The standard library deletes a key itself when it is given
/// number 0, which must not be deleted once more: it may be somebody else's by then.
///
/// # Safety
/// As for the C function.
pub unsafe extern "C" fn key_delete(key: pthread_key_t) -> c_int {
    let real = KEY_DELETE.get();
    if real.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: it is the C library's function of that name, so it has this type.
    let real = unsafe { std::mem::transmute::<*mut c_void, KeyDelete>(real) };
    let place = place_of(key);
    let was = place.map_or(0, |(word, bit)| word.fetch_and(!bit, Ordering::AcqRel) & bit);
    // SAFETY: the caller's promise is the real function's.
    let code = unsafe { real(key) };
    if code != 0
        && let Some((word, _)) = place
    {
        word.fetch_or(was, Ordering::AcqRel);
    }
    code
}

/// The keys that this library's code holds.
pub(crate) fn keys() -> Result<Vec<u32>, String> {
    if UNCOUNTED_KEYS.load(Ordering::Acquire) != 0 {
        return Err("it took pthread keys of numbers that are not followed".to_owned());
    }
    let is_held = |key: &u32| {
        place_of(*key).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    };
    Ok((0..MOST_KEYS as u32).filter(is_held).collect())
}

/// So many threads are followed at once; tokio's pool for blocking calls has at most 512.
const MOST_THREADS: usize = 2048;

/// One thread of this library.
struct Slot {
    /// 0: free. Otherwise a serial number above the thread's number, which is 0 until it begins.
    word: AtomicU64,
    /// A time at which it had begun, in nanoseconds since the machine started.
    begun: AtomicU64,
    start: AtomicPtr<c_void>,
    argument: AtomicPtr<c_void>,
}

static THREADS: [Slot; MOST_THREADS] = [const {
    Slot {
        word: AtomicU64::new(0),
        begun: AtomicU64::new(0),
        start: AtomicPtr::new(std::ptr::null_mut()),
        argument: AtomicPtr::new(std::ptr::null_mut()),
    }
}; MOST_THREADS];
static SERIAL: AtomicU64 = AtomicU64::new(0);
static UNCOUNTED_THREADS: AtomicUsize = AtomicUsize::new(0);

/// `pthread_create` of this library.
///
/// # Safety
/// As for the C function.
pub unsafe extern "C" fn create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let real = CREATE.get();
    if real.is_null() {
        return libc::EAGAIN;
    }
    // SAFETY: it is the C library's function of that name, so it has this type.
    let real = unsafe { std::mem::transmute::<*mut c_void, Create>(real) };
    let Some((slot, claim)) = claim() else {
        UNCOUNTED_THREADS.fetch_add(1, Ordering::AcqRel);
        // SAFETY: the caller's promise is the real function's.
        return unsafe { real(thread, attributes, start, argument) };
    };
    slot.start.store(start as *mut c_void, Ordering::Relaxed);
    slot.argument.store(argument, Ordering::Relaxed);
    let to_slot = std::ptr::from_ref(slot).cast_mut().cast::<c_void>();
    // SAFETY: the caller's promise, but for the start routine, which calls the caller's with the
    // caller's argument. Making a thread orders the stores above before its beginning.
    let code = unsafe { real(thread, attributes, begin, to_slot) };
    if code != 0 {
        let _ = slot.word.compare_exchange(claim, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
    code
}

/// Where every thread of this library begins: notes its number, then goes on with its start routine
/// and the argument of that, as if it had begun there. A jump and not a call, for `pthread_exit` and
/// `pthread_cancel` unwind a thread from within, and must find nothing of this library's there.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn begin(slot: *mut c_void) -> *mut c_void {
    std::arch::naked_asm!(
        "sub rsp, 8",
        "call {note_begun}",
        "add rsp, 8",
        "mov rdi, rdx",
        "jmp rax",
        note_begun = sym note_begun,
    )
}

/// As on the other processor.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn begin(slot: *mut c_void) -> *mut c_void {
    std::arch::naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "bl {note_begun}",
        "ldp x29, x30, [sp], #16",
        "mov x2, x0",
        "mov x0, x1",
        "br x2",
        note_begun = sym note_begun,
    )
}

/// What a thread was to do. Of two pointers, so it is returned in two registers.
#[repr(C)]
struct Errand {
    start: *mut c_void,
    argument: *mut c_void,
}

/// Notes which thread the slot is for.
unsafe extern "C" fn note_begun(slot: *mut c_void) -> Errand {
    // SAFETY: `create` passed a reference to a static, only ever used shared.
    let slot = unsafe { &*slot.cast::<Slot>() };
    slot.begun.store(now(), Ordering::Relaxed);
    // SAFETY: the call has no arguments, and the kernel always answers with the thread's number.
    let number = unsafe { libc::syscall(libc::SYS_gettid) }.cast_unsigned() & NUMBER;
    let errand = Errand {
        start: slot.start.load(Ordering::Relaxed),
        argument: slot.argument.load(Ordering::Relaxed),
    };
    // Nobody else writes to a claimed slot whose thread has not begun.
    slot.word.fetch_or(number, Ordering::Release);
    errand
}

/// The thread's number in a slot's word; it is positive and has 31 bits.
const NUMBER: u64 = 0x7fff_ffff;

/// Takes a free slot; the word that it holds then is this thread's alone.
fn claim() -> Option<(&'static Slot, u64)> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
    let word = (serial << 32).max(1 << 32);
    let free = |slot: &&Slot| {
        slot.word.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let found = THREADS.iter().find(free).or_else(|| {
        alive().for_each(drop);
        THREADS.iter().find(free)
    })?;
    Some((found, word))
}

/// Frees the slots of threads that are gone and gives the numbers of the others.
fn alive() -> impl Iterator<Item = i32> {
    THREADS.iter().filter_map(|slot| {
        let word = slot.word.load(Ordering::Acquire);
        if word == 0 {
            return None;
        }
        let number = (word & NUMBER) as i32;
        if number != 0 && is_gone(number, slot.begun.load(Ordering::Relaxed)) {
            let _ = slot.word.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            return None;
        }
        Some(number)
    })
}

/// Nanoseconds since the machine started, on the clock that the kernel notes the beginning of
/// threads by.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0 {
        // Then no thread counts as a later one.
        return u64::MAX;
    }
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Whether the thread that had this number at that time lives no more.
fn is_gone(number: i32, at: u64) -> bool {
    let process = std::process::id();
    // SAFETY: no pointers are passed; signal 0 is none, it only asks.
    let asked = unsafe { libc::syscall(libc::SYS_tgkill, process, number, 0) };
    if asked != 0 {
        return std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    }
    // SAFETY: asks for a number of the system's.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let Ok(ticks_per_second) = u64::try_from(ticks_per_second) else { return false };
    let at = u128::from(at) * u128::from(ticks_per_second) / 1_000_000_000;
    // Where it cannot be found out, it is taken for the same thread.
    began_at(number).is_some_and(|began| u128::from(began) > at)
}

/// When a thread of this process began, in ticks since the machine started. On the stack alone: see
/// the top.
fn began_at(number: i32) -> Option<u64> {
    let mut path = [0_u8; 64];
    let mut rest = &mut path[..];
    write!(rest, "/proc/self/task/{number}/stat").ok()?;
    let left = rest.len();
    let path = std::str::from_utf8(path.get(..path.len() - left)?).ok()?;
    let mut text = [0_u8; 1024];
    let read = std::fs::File::open(path).ok()?.read(&mut text).ok()?;
    // The second field is the name in parentheses, which may hold anything; the time is the 22nd.
    let text = text.get(..read)?;
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 2;
    let field = text.get(after_name..)?.split(|byte| *byte == b' ').nth(19)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The threads that this library's code started and that still live.
pub(crate) fn live_threads() -> Result<LiveThreads, String> {
    if !are_hooked() {
        return Err(NOT_HOOKED.to_owned());
    }
    let uncounted = UNCOUNTED_THREADS.load(Ordering::Acquire);
    Ok(LiveThreads { alive: alive().collect(), uncounted })
}

/// Whether the code of this library is linked to the hooks: what it calls by these names is not what
/// the process at large calls by them.
pub(crate) fn are_hooked() -> bool {
    let linked: [*const (); 3] = [
        libc::pthread_key_create as *const (),
        libc::pthread_key_delete as *const (),
        libc::pthread_create as *const (),
    ];
    let real = [&KEY_CREATE, &KEY_DELETE, &CREATE].map(Real::get);
    // Volatile, lest the compiler believe that it knows what a name stands for.
    std::hint::black_box(linked)
        .iter()
        .zip(real)
        .all(|(linked, real)| !real.is_null() && linked.addr() != real.addr())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_key_is_known_from_its_creation_to_its_deletion() {
        let mut key = 0;
        // SAFETY: the pointer is to a local, and there is no destructor.
        assert_eq!(unsafe { key_create(&raw mut key, None) }, 0);
        assert!(keys().expect("few keys").contains(&key));
        // SAFETY: the key was made above and is used nowhere.
        assert_eq!(unsafe { key_delete(key) }, 0);
        assert!(!keys().expect("few keys").contains(&key));
        // SAFETY: a number that is no key is refused.
        assert_ne!(unsafe { key_delete(MOST_KEYS as u32 + 7) }, 0);
    }

    struct Ends {
        tell: Sender<i32>,
        leave: Receiver<()>,
    }

    unsafe extern "C" fn wait_to_leave(ends: *mut c_void) -> *mut c_void {
        // SAFETY: the test below passes a box of this type, once.
        let ends = unsafe { Box::from_raw(ends.cast::<Ends>()) };
        // SAFETY: no arguments.
        let number = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        ends.tell.send(number).expect("the test listens");
        let _ = ends.leave.recv();
        std::ptr::without_provenance_mut(42)
    }

    #[test]
    fn a_thread_is_alive_until_the_kernel_does_not_know_it() {
        let (tell, told) = channel();
        let (leave, may_leave) = channel();
        let ends = Box::into_raw(Box::new(Ends { tell, leave: may_leave })).cast();
        let mut thread = 0;
        // SAFETY: the pointers are to a local, to nothing, and to the box that the routine takes.
        let code = unsafe { create(&raw mut thread, std::ptr::null(), wait_to_leave, ends) };
        assert_eq!(code, 0);
        let number = told.recv().expect("it began");
        assert!(alive().any(|alive| alive == number));
        leave.send(()).expect("it waits");
        let mut returned = std::ptr::null_mut();
        // SAFETY: the thread was made above, and nobody else joins it.
        assert_eq!(unsafe { libc::pthread_join(thread, &raw mut returned) }, 0);
        assert_eq!(returned.addr(), 42, "what it returned comes through");
        // Whoever joins is woken a moment before the kernel lets go of the number.
        let until = Instant::now() + Duration::from_secs(30);
        while alive().any(|alive| alive == number) {
            assert!(Instant::now() < until, "it is still known");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_began_later_is_not_the_one_of_the_same_number() {
        // SAFETY: no arguments.
        let number = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        assert!(!is_gone(number, now()));
        assert!(is_gone(number, 0), "the number was somebody else's when the machine started");
        assert!(is_gone(i32::MAX, now()), "no thread has this number");
    }

    #[test]
    fn a_test_is_not_hooked() {
        assert!(!are_hooked());
        assert!(live_threads().is_err());
    }
}
