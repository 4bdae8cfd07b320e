//! Reading without keeping a buffer for every connection.

use super::end::End;
use crate::socket::Socket;
use std::cell::RefCell;
use std::io::ErrorKind;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// With a longer beginning of a packet, the rest is read behind it instead of being moved.
const SHORT: usize = CHUNK / 2;

thread_local! {
    /// What a read is done into. Free again as soon as its packets are handled.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Reads once, `most` bytes, behind `partial`, the beginning of a packet, and lends the bytes to `handle` if
/// any were new. `handle` returns how many it used, and the rest stays in `partial`.
///
/// `source` is lent to both in turn. Returns how many bytes were new, and what `handle` said.
pub(super) fn read_once<S>(
    source: &mut S,
    socket: impl Fn(&mut S) -> &mut Socket,
    partial: &mut Vec<u8>,
    most: usize,
    handle: impl FnOnce(&mut S, &[u8]) -> (usize, Result<(), End>),
) -> (usize, Result<(), End>) {
    let held = partial.len();
    if held > SHORT {
        partial.resize(held + CHUNK.min(most), 0);
        let read = read(socket(source), &mut partial[held..]);
        partial.truncate(held + read.unwrap_or(0));
        return match read {
            Ok(0) | Err(_) => (0, read.map(drop)),
            Ok(new) => {
                let (used, result) = handle(source, partial);
                partial.drain(..used);
                if partial.len() <= SHORT {
                    // A large packet is through: what was made for it is not kept for the next.
                    partial.shrink_to_fit();
                }
                (new, result)
            }
        };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch[..held].copy_from_slice(partial);
        let end = CHUNK.min(held.saturating_add(most));
        match read(socket(source), &mut scratch[held..end]) {
            Ok(0) => (0, Ok(())),
            Err(end) => (0, Err(end)),
            Ok(new) => {
                let bytes = &scratch[..held + new];
                let (used, result) = handle(source, bytes);
                *partial = bytes[used..].to_vec();
                (new, result)
            }
        }
    })
}

/// 0 when there is nothing to read just now.
fn read(socket: &mut Socket, into: &mut [u8]) -> Result<usize, End> {
    match socket.try_read(into) {
        Ok(0) => Err(End::Lost),
        Ok(new) => Ok(new),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(End::Lost),
    }
}
