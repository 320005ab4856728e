//! Users and groups as serial numbers (`SerialNumberManager`), so that an inode's permission is 8 bytes.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::digest::terms;

/// Serials must fit the 24 bits of the image's packings.
const MAX_SERIAL: u32 = (1 << 24) - 1;

/// Strings with serials from 1; 0 is "none" and reads as the empty string.
#[derive(Clone, Debug)]
pub(crate) struct Strings {
    by_name: HashMap<Arc<str>, u32, FixedState>,
    names: Vec<Arc<str>>,
    /// By serial, 0 included: what the digest takes for the string.
    terms: Vec<u64>,
}

impl Strings {
    pub(crate) fn new() -> Self {
        Strings {
            by_name: HashMap::with_hasher(FixedState::default()),
            names: Vec::new(),
            terms: vec![terms::name("")],
        }
    }

    /// The serial of a string, new if needed. Full tables give 0: sixteen million different users are not a real case.
    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(serial) = self.by_name.get(name) {
            return *serial;
        }
        if self.names.len() as u32 >= MAX_SERIAL {
            return 0;
        }
        let name: Arc<str> = Arc::from(name);
        self.terms.push(terms::name(&name));
        self.names.push(name.clone());
        let serial = self.names.len() as u32;
        debug_assert!(serial <= MAX_SERIAL, "serials fit the packings of the image");
        self.by_name.insert(name, serial);
        serial
    }

    #[inline]
    pub(crate) fn get(&self, serial: u32) -> &str {
        match serial {
            0 => "",
            n => self.names.get(n as usize - 1).map_or("", |name| name),
        }
    }

    /// What the digest takes for the string of a serial.
    #[inline]
    pub(crate) fn term(&self, serial: u32) -> u64 {
        self.terms.get(serial as usize).copied().unwrap_or_default()
    }

    /// [`Strings::term`] by serial.
    pub(crate) fn terms(&self) -> &[u64] {
        &self.terms
    }

    /// Panics when a string has no serial or two.
    pub(crate) fn check(&self) {
        assert_eq!(self.terms.len(), 1 + self.names.len(), "each string has a term");
        assert_eq!(self.by_name.len(), self.names.len(), "each string has one serial");
        for (serial, name) in self.iter() {
            assert_eq!(self.by_name.get(name), Some(&serial), "the serial of {name}");
        }
    }

    /// All strings in order of their serials, which start at 1.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().enumerate().map(|(n, name)| (n as u32 + 1, &**name))
    }
}
