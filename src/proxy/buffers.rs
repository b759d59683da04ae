//! Buffers that connections borrow from their worker while bytes pass, and give back while they rest:
//! an idle connection holds none.

use bytes::BytesMut;

/// Room for what is read at once: heads, and bodies that are not large.
pub(super) const SMALL: usize = 16 * 1024;

/// Spare buffers that a worker keeps at most, of each kind.
const SPARE_MAX: usize = 256;

/// One worker's spare buffers. All are empty.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    input: Vec<BytesMut>,
    output: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty buffer to read into, with room for [`SMALL`] bytes.
    pub(super) fn input(&mut self) -> BytesMut {
        self.input.pop().unwrap_or_else(|| BytesMut::with_capacity(SMALL))
    }

    /// An empty buffer to write from.
    pub(super) fn output(&mut self) -> Vec<u8> {
        self.output.pop().unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// Takes a buffer back. It is kept if it is of the usual size and nothing that was read into it is in use.
    pub(super) fn give_input(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        if self.input.len() < SPARE_MAX && buffer.capacity() <= SMALL && buffer.try_reclaim(SMALL) {
            self.input.push(buffer);
        }
    }

    /// Takes a buffer back. It is kept if it is of the usual size.
    pub(super) fn give_output(&mut self, mut buffer: Vec<u8>) {
        if self.output.len() < SPARE_MAX && buffer.capacity() == SMALL {
            buffer.clear();
            self.output.push(buffer);
        }
    }

    /// Lets go of a part of the spare ones: called once a second, so that a rush does not leave its buffers
    /// behind for ever.
    pub(super) fn sweep(&mut self) {
        self.input.truncate(self.input.len() - self.input.len() / 4);
        self.output.truncate(self.output.len() - self.output.len() / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, SMALL};

    #[test]
    fn a_buffer_comes_back_unless_it_is_in_use() {
        let mut buffers = Buffers::default();
        let mut input = buffers.input();
        input.extend_from_slice(b"head");
        let head = input.split().freeze();
        buffers.give_input(input);
        assert!(buffers.input.is_empty());
        drop(head);

        let mut input = buffers.input();
        input.extend_from_slice(b"head");
        drop(input.split().freeze());
        buffers.give_input(input);
        assert_eq!(buffers.input.len(), 1);
        assert_eq!(buffers.input().capacity(), SMALL);
    }

    #[test]
    fn large_ones_are_not_kept() {
        let mut buffers = Buffers::default();
        let mut output = buffers.output();
        output.resize(SMALL + 1, 0);
        buffers.give_output(output);
        assert!(buffers.output.is_empty());
    }
}
