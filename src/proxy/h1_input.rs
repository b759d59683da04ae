//! Bytes of a socket as they come, in a buffer of the worker's that is held only while there are some; a large
//! one where they flow.

use std::cell::RefCell;
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio_util::io::poll_read_buf;

use super::buffers::{Buffers, LARGE, ROOM_MIN, SMALL};
use super::upstream::Socket;

/// A body of which so much is still to come is read in large pieces.
const LARGE_BODY: u64 = 32 * 1024;

/// What was read from a socket and not used yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) bytes: BytesMut,
    /// The room that the memory of `bytes` was made with: [`SMALL`], [`LARGE`], or 0 where there is none.
    size: usize,
    /// The last message came in large pieces: the first read of the next is a large one.
    flowed: bool,
    /// The present message comes in large pieces.
    flows: bool,
}

impl Input {
    /// Another message begins.
    pub(super) fn begin(&mut self) {
        self.flowed = take(&mut self.flows);
    }

    /// So many bytes at least are still to come of the present message.
    pub(super) fn expect(&mut self, n: u64) {
        self.flows |= n >= LARGE_BODY;
    }

    /// Gives the buffer back. Bytes that were not used are lost.
    pub(super) fn end(&mut self, buffers: &RefCell<Buffers>) {
        let bytes = take(&mut self.bytes);
        match take(&mut self.size) {
            0 => {}
            LARGE => buffers.borrow_mut().give_large_input(bytes),
            _ => buffers.borrow_mut().give_input(bytes),
        }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        buffers: &RefCell<Buffers>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if socket.poll_readable(cx)?.is_pending() {
                // Who waits holds no memory.
                if self.bytes.is_empty() {
                    self.end(buffers);
                }
                return Poll::Pending;
            }
            self.make_room(buffers);
            let room = self.bytes.capacity() - self.bytes.len();
            // Readiness is no more than a hint.
            if let Poll::Ready(n) = poll_read_buf(Pin::new(&mut *socket), cx, &mut self.bytes)? {
                // There is probably more where a read has filled the room.
                self.flows |= n >= SMALL || (n == room && n >= ROOM_MIN);
                return Poll::Ready(Ok(n));
            }
            if socket.is_tls() {
                if self.bytes.is_empty() {
                    self.end(buffers);
                }
                return Poll::Pending;
            }
        }
    }

    /// Sees to it that a read is worth its while.
    fn make_room(&mut self, buffers: &RefCell<Buffers>) {
        let large = self.flowed || self.flows;
        let size = if large { LARGE } else { SMALL };
        let room = self.bytes.capacity() - self.bytes.len();
        if !self.bytes.is_empty() {
            // The beginning of something: the rest must lie behind it.
            if room < ROOM_MIN {
                self.bytes.reserve(size);
            }
        } else if self.size != size || !(self.bytes.try_reclaim(size) || room >= size / 4) {
            // Of the other size, or what was read last is still in use.
            self.end(buffers);
            let mut buffers = buffers.borrow_mut();
            self.bytes = if large { buffers.large_input() } else { buffers.input() };
            self.size = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::{Input, LARGE, SMALL};
    use crate::proxy::buffers::Buffers;
    use crate::proxy::upstream::Socket;

    #[tokio::test]
    async fn what_flows_is_read_in_large_pieces_and_nothing_is_held_while_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut tcp = Socket::Clear(TcpStream::connect(address).await.expect("it listens"));
        let (mut peer, _) = listener.accept().expect("it was connected");
        let buffers = RefCell::<Buffers>::default();
        let mut input = Input::default();
        let mut read = async |input: &mut Input, tcp: &mut Socket, bytes: usize| {
            peer.write_all(&vec![b'x'; bytes]).expect("it is open");
            let mut sizes = Vec::new();
            let mut left = bytes;
            while left > 0 {
                let n = poll_fn(|cx| input.poll_read(cx, tcp, &buffers)).await.expect("bytes");
                sizes.push(input.size);
                left -= n;
                // Taken, and gone.
                drop(input.bytes.split().freeze());
            }
            sizes
        };
        input.begin();
        assert_eq!(read(&mut input, &mut tcp, 100).await, [SMALL]);
        let sizes = read(&mut input, &mut tcp, 3 * SMALL).await;
        assert_eq!((sizes[0], sizes[sizes.len() - 1]), (SMALL, LARGE), "{sizes:?}");
        input.begin();
        assert_eq!(read(&mut input, &mut tcp, 100).await, [LARGE], "the last one flowed");
        input.begin();
        assert_eq!(read(&mut input, &mut tcp, 100).await, [SMALL], "the last one did not");
        input.expect(100_000);
        assert_eq!(read(&mut input, &mut tcp, 100).await, [LARGE], "more is to come");

        let waits = poll_fn(|cx| std::task::Poll::Ready(input.poll_read(cx, &mut tcp, &buffers).is_pending()));
        assert!(waits.await);
        assert_eq!((input.bytes.capacity(), input.size), (0, 0));
    }
}
