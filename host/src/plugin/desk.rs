//! Where a plugin finds its host for the time of one run.
//!
//! What a plugin gets as its context is the number of a run, not a pointer: nobody can prove that a
//! thread which the plugin left behind will not call once more, so what it holds must not dangle and
//! must not lead to a later run. A number is looked up, and after its run it is nobody's, for ever. It
//! costs nothing to forget, so a reload leaves nothing behind.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::host_side::ServiceHost;

/// So many runs may go on at once. A power of two: the low bits of a number are its place.
const PLACES: usize = 1024;

/// The runs that go on. Each lock is taken for reading during a call, by threads of one service, and
/// has cache lines of its own, so that services do not slow each other down.
static DESKS: [Place; PLACES] = [const { Place(RwLock::new(None)) }; PLACES];

#[repr(align(128))]
struct Place(RwLock<Option<Occupant>>);

struct Occupant {
    number: usize,
    who: Who,
}

/// Who answers a call.
enum Who {
    Host(Arc<dyn ServiceHost>),
    /// Nobody, though the run goes on. Whether it has been told to stop.
    CutOff(AtomicBool),
}

/// One run's number. It may be copied at will; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Desk(usize);

impl Desk {
    /// Begins a run that calls `host`.
    ///
    /// # Errors
    /// When too many runs go on.
    pub(crate) fn open(host: Arc<dyn ServiceHost>) -> io::Result<Self> {
        // Numbers below the first multiple are not given out, so none is a null pointer.
        static LAST: AtomicUsize = AtomicUsize::new(PLACES);
        for _ in 0..PLACES {
            let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Somebody else's place may be locked for as long as a call takes.
            let Ok(mut place) = DESKS[number % PLACES].0.try_write() else { continue };
            if place.is_none() {
                *place = Some(Occupant { number, who: Who::Host(host) });
                return Ok(Self(number));
            }
        }
        Err(io::Error::other(format!("{PLACES} services run already")))
    }

    /// As it crosses the boundary: an address that leads nowhere.
    pub(super) fn context(self) -> *const () {
        std::ptr::without_provenance(self.0)
    }

    /// The desk of a call. Any pointer will do: one that was never given out is nobody's number.
    pub(super) fn of(context: *const ()) -> Self {
        Self(context.addr())
    }

    /// Calls `f` with the host; `None` when the run is over or cut off.
    pub(crate) fn with_host<T>(self, f: impl FnOnce(&dyn ServiceHost) -> T) -> Option<T> {
        let place = self.place().read().unwrap_or_else(PoisonError::into_inner);
        match self.mine(place.as_ref())? {
            Who::Host(host) => Some(f(&**host)),
            Who::CutOff(_) => None,
        }
    }

    /// Takes the host away from a run that goes on: when this returns no call is under way, and calls
    /// from now on find nobody. Waits for a call that is under way, at most as long as one may take.
    pub(crate) fn cut_off(self) {
        self.replace(Some(Who::CutOff(AtomicBool::new(false))));
    }

    /// Whether the run is cut off and is to be told, once, to stop.
    pub(super) fn must_be_told_to_stop(self) -> bool {
        let place = self.place().read().unwrap_or_else(PoisonError::into_inner);
        match self.mine(place.as_ref()) {
            Some(Who::CutOff(told)) => !told.swap(true, Ordering::Relaxed),
            _ => false,
        }
    }

    /// Ends the run, as [`cut_off`](Self::cut_off) does, and frees its place.
    pub(crate) fn close(self) {
        self.replace(None);
    }

    fn replace(self, by: Option<Who>) {
        let mut place = self.place().write().unwrap_or_else(PoisonError::into_inner);
        if self.mine(place.as_ref()).is_none() {
            return;
        }
        let gone = std::mem::replace(&mut *place, by.map(|who| Occupant { number: self.0, who }));
        drop(place);
        // Not under the lock: it may be the last that holds the host.
        drop(gone);
    }

    fn mine(self, occupant: Option<&Occupant>) -> Option<&Who> {
        occupant.filter(|occupant| occupant.number == self.0).map(|occupant| &occupant.who)
    }

    fn place(self) -> &'static RwLock<Option<Occupant>> {
        &DESKS[self.0 % PLACES].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_never_given_out_is_nobodys() {
        for made_up in [0, 1, PLACES, usize::MAX, std::ptr::from_ref(&DESKS).addr()] {
            let desk = Desk::of(std::ptr::without_provenance(made_up));
            assert_eq!(desk.with_host(|_| ()), None);
            desk.close();
        }
    }

    #[test]
    fn what_crosses_leads_back() {
        let desk = Desk(PLACES + 7);
        assert_eq!(Desk::of(desk.context()), desk);
        assert!(!desk.context().is_null());
    }
}
