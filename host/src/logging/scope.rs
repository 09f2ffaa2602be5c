//! On whose behalf the present thread logs.

use std::cell::RefCell;
use std::marker::PhantomData;

thread_local! {
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
}

/// What an event belongs to.
struct Scope {
    service: String,
    spans: String,
}

/// Ends the scope when it is dropped. It belongs to its thread and must not be held across an
/// `await`, where the thread would go on with other work under the service's name.
#[must_use = "the scope ends when the guard is dropped"]
pub struct ScopeGuard {
    depth: usize,
    stays_on_its_thread: PhantomData<*const ()>,
}

/// From here to the guard's end, events of this thread are the service's: they carry its name and
/// go to its file. Scopes nest; the innermost counts.
pub fn service_scope(service: &str) -> ScopeGuard {
    enter(service, "")
}

/// A scope with the spans that a plugin had open.
pub(super) fn enter(service: &str, spans: &str) -> ScopeGuard {
    let scope = Scope { service: service.to_owned(), spans: spans.to_owned() };
    let depth = SCOPES.with_borrow_mut(|scopes| {
        scopes.push(scope);
        scopes.len() - 1
    });
    ScopeGuard { depth, stays_on_its_thread: PhantomData }
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        // Fails only while the thread ends, when there is nothing left to end.
        let _ = SCOPES.try_with(|scopes| scopes.borrow_mut().truncate(self.depth));
    }
}

/// Calls `f` with the present service, if any, and the plugin's spans.
pub(super) fn with_current<R>(f: impl FnOnce(Option<&str>, &str) -> R) -> R {
    // Copied out rather than lent, so that code below `f` may open scopes of its own.
    let current = SCOPES
        .try_with(|scopes| {
            scopes.borrow().last().map(|scope| (scope.service.clone(), scope.spans.clone()))
        })
        .ok()
        .flatten();
    match &current {
        Some((service, spans)) => f(Some(service), spans),
        None => f(None, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> Option<String> {
        with_current(|service, _| service.map(str::to_owned))
    }

    #[test]
    fn scopes_nest_and_end() {
        assert_eq!(current(), None);
        let outer = service_scope("core");
        {
            let _inner = service_scope("display");
            assert_eq!(current().as_deref(), Some("display"));
        }
        assert_eq!(current().as_deref(), Some("core"));
        std::thread::spawn(|| assert_eq!(current(), None)).join().unwrap();
        drop(outer);
        assert_eq!(current(), None);
    }
}
