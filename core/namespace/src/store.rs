//! The records the namespace is made of, and how they are laid out in memory.

pub(crate) mod children;
pub(crate) mod id_map;
pub(crate) mod id_set;
pub(crate) mod names;
pub(crate) mod side;
pub(crate) mod slab;
pub(crate) mod strings;
