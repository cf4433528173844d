//! Texts that were edited or deleted are gone: whatever is read afterwards, from whichever position, by whichever
//! transport, does not hold them, and is the room's exact state all the same.

mod property;
mod stories;
