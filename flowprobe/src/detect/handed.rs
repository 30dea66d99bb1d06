//! Things that come to a detector from outside while it runs, such as lists that were read again.

use std::sync::{Arc, Mutex, PoisonError};

/// A place where the newest of its kind is put by one and taken by the other.
#[derive(Debug)]
pub struct Handed<T>(Arc<Mutex<Option<T>>>);

impl<T> Handed<T> {
    /// Puts it there, in place of what was not taken yet.
    pub fn put(&self, thing: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(thing);
    }

    /// What was put there since the last time.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Default for Handed<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Handed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
