//! Buffers that connections borrow from their worker while bytes pass, and give back while they rest:
//! an idle connection holds none.

use bytes::BytesMut;

use crate::head::{Fields, ResponseHead};

/// Room for what is read at once: heads, and bodies that are not large.
pub(super) const SMALL: usize = 16 * 1024;

/// Room for what is read at once of a large body: 64 KiB together with their head.
pub(super) const LARGE: usize = 68 * 1024;

/// Less room than this is not worth a read of its own.
pub(super) const ROOM_MIN: usize = 4 * 1024;

/// Spare buffers that a worker keeps at most, of each kind.
const SPARE_MAX: usize = 256;

/// The same, of large ones.
const SPARE_LARGE_MAX: usize = 64;

/// One worker's spare buffers and heads.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Empty, but what was read into one may still be in use for a moment.
    input: Vec<BytesMut>,
    /// As `input`, with room for [`LARGE`].
    large: Vec<BytesMut>,
    /// Empty.
    output: Vec<Vec<u8>>,
    /// Without fields. Boxed because they are handed on so.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    heads: Vec<Box<ResponseHead>>,
}

impl Buffers {
    /// An empty buffer to read into, with room for [`SMALL`] bytes.
    pub(super) fn input(&mut self) -> BytesMut {
        take(&mut self.input, SMALL)
    }

    /// An empty buffer to read into, with room for [`LARGE`] bytes.
    pub(super) fn large_input(&mut self) -> BytesMut {
        take(&mut self.large, LARGE)
    }

    /// An empty buffer to write from.
    pub(super) fn output(&mut self) -> Vec<u8> {
        self.output.pop().unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// `head` in a box.
    pub(super) fn head(&mut self, head: ResponseHead) -> Box<ResponseHead> {
        match self.heads.pop() {
            Some(mut spare) => {
                *spare = head;
                spare
            }
            None => Box::new(head),
        }
    }

    /// Takes a buffer of the usual size back. What was read into it may still be in use.
    pub(super) fn give_input(&mut self, buffer: BytesMut) {
        give(&mut self.input, buffer, SMALL, SPARE_MAX);
    }

    /// Takes a buffer for large bodies back. What was read into it may still be in use.
    pub(super) fn give_large_input(&mut self, buffer: BytesMut) {
        give(&mut self.large, buffer, LARGE, SPARE_LARGE_MAX);
    }

    /// Takes a buffer back. It is kept if it is of the usual size.
    pub(super) fn give_output(&mut self, mut buffer: Vec<u8>) {
        if self.output.len() < SPARE_MAX && buffer.capacity() == SMALL {
            buffer.clear();
            self.output.push(buffer);
        }
    }

    /// Takes a head back that has been written.
    pub(super) fn give_head(&mut self, mut head: Box<ResponseHead>) {
        if self.heads.len() < SPARE_MAX {
            head.fields = Fields::default();
            self.heads.push(head);
        }
    }

    /// Lets go of a part of the spare ones: called once a second, so that a rush does not leave its buffers
    /// behind for ever.
    pub(super) fn sweep(&mut self) {
        self.input.truncate(self.input.len() - self.input.len() / 4);
        self.large.truncate(self.large.len() - self.large.len() / 4);
        self.output.truncate(self.output.len() - self.output.len() / 4);
        self.heads.truncate(self.heads.len() - self.heads.len() / 4);
    }
}

/// The last spare buffer that nobody uses any more, or a new one. Those that are in use still are let go:
/// what a slow client has not taken must not keep the others from their buffers.
fn take(spare: &mut Vec<BytesMut>, size: usize) -> BytesMut {
    while let Some(mut buffer) = spare.pop() {
        // One that has grown is not kept either.
        if buffer.try_reclaim(size) && buffer.capacity() == size {
            return buffer;
        }
    }
    BytesMut::with_capacity(size)
}

fn give(spare: &mut Vec<BytesMut>, mut buffer: BytesMut, size: usize, enough: usize) {
    if spare.len() < enough && buffer.capacity() <= size {
        buffer.clear();
        spare.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, LARGE, SMALL};
    use crate::head::{HeadBuilder, Version};

    #[test]
    fn a_buffer_comes_back_unless_it_is_in_use() {
        let mut buffers = Buffers::default();
        let mut input = buffers.input();
        input.extend_from_slice(b"head");
        let memory = input.as_ptr();
        let head = input.split().freeze();
        buffers.give_input(input);
        let other = buffers.input();
        assert_ne!(other.as_ptr(), memory);
        assert_eq!(&head[..], b"head");

        let mut input = buffers.input();
        input.extend_from_slice(b"head");
        let memory = input.as_ptr();
        let head = input.split().freeze();
        buffers.give_input(input);
        drop(head);
        let again = buffers.input();
        assert_eq!((again.as_ptr(), again.capacity(), again.len()), (memory, SMALL, 0));
    }

    #[test]
    fn grown_ones_are_not_kept() {
        let mut buffers = Buffers::default();
        let mut output = buffers.output();
        output.resize(SMALL + 1, 0);
        buffers.give_output(output);
        assert!(buffers.output.is_empty());

        let mut input = buffers.input();
        input.extend_from_slice(&[0; SMALL]);
        input.reserve(1);
        // Only its end is left of it: how large it is shows when it is free.
        drop(input.split_to(SMALL));
        buffers.give_input(input);
        assert_eq!(buffers.input().capacity(), SMALL);
    }

    #[test]
    fn large_ones_and_heads_come_back() {
        let mut buffers = Buffers::default();
        let input = buffers.large_input();
        let memory = input.as_ptr();
        buffers.give_large_input(input);
        assert_eq!(buffers.large_input().as_ptr(), memory);
        assert!(buffers.large_input().capacity() >= LARGE);

        let head = || {
            let mut head = HeadBuilder::default();
            head.field(b"a", b"b");
            head.response(204, Version::Http11)
        };
        let boxed = buffers.head(head());
        let memory = std::ptr::from_ref(&*boxed);
        buffers.give_head(boxed);
        let boxed = buffers.head(head());
        assert_eq!(
            (std::ptr::from_ref(&*boxed), boxed.status, boxed.fields.len()),
            (memory, 204, 1)
        );
    }
}
