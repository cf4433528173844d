//! Edited or deleted texts are gone: no later read, from any position and over any transport, contains them, and each
//! read still leads to the room's exact state.

mod property;
mod stories;
