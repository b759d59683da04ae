//! What two processes say to each other: frames of a tag and a short text, some with a descriptor.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg, sockopt::socket_peercred,
};
use rustix::process::{geteuid, getpid};

/// Bytes of a frame's text at most: names and addresses.
const TEXT_MAX: usize = 4096;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// New: who speaks; the text is the version.
    Hello,
    /// Old: a socket, with its descriptor.
    Socket,
    /// Old: that was all.
    End,
    /// New: prepared; the text names the groups that were taken.
    Taken,
    /// Old: the state directory is free.
    Released,
    /// New: it serves.
    Live,
    /// Old: it does not any more.
    Go,
    /// Either: no, for the reason in the text.
    Refused,
}

/// One thing said.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tag: Tag,
    pub(super) text: String,
    pub(super) descriptor: Option<OwnedFd>,
}

impl Tag {
    const ALL: [Self; 8] = [
        Self::Hello,
        Self::Socket,
        Self::End,
        Self::Taken,
        Self::Released,
        Self::Live,
        Self::Go,
        Self::Refused,
    ];

    const fn byte(self) -> u8 {
        match self {
            Self::Hello => b'H',
            Self::Socket => b'S',
            Self::End => b'E',
            Self::Taken => b'T',
            Self::Released => b'R',
            Self::Live => b'L',
            Self::Go => b'G',
            Self::Refused => b'-',
        }
    }
}

/// Says something, and passes a descriptor with it.
///
/// # Errors
/// The other side has left, or does not listen in time.
pub(super) fn say(stream: &mut UnixStream, tag: Tag, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let text = &text[..text.floor_char_boundary(TEXT_MAX)];
    let length = u16::try_from(text.len()).expect("cut to its bound").to_be_bytes();
    let bytes = [&[tag.byte()], &length[..], text.as_bytes()].concat();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = descriptor.as_slice();
    if !passed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(passed));
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&bytes[sent..])
}

/// Hears the next thing.
///
/// # Errors
/// The other side has left, says nothing in time, or nothing that can be understood.
pub(super) fn hear(stream: &mut UnixStream) -> io::Result<Frame> {
    let mut head = [0; 3];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let heard = recvmsg(
        &*stream,
        &mut [IoSliceMut::new(&mut head)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if heard.bytes == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the other process has left",
        ));
    }
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptor = descriptor.into_iter().chain(passed).next();
        }
    }
    stream.read_exact(&mut head[heard.bytes..])?;
    let not_ours = || io::Error::new(io::ErrorKind::InvalidData, "the other process says what is no upgrade");
    let tag = Tag::ALL.into_iter().find(|tag| tag.byte() == head[0]);
    let tag = tag.ok_or_else(not_ours)?;
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    if length > TEXT_MAX {
        return Err(not_ours());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(Frame {
        tag,
        text: String::from_utf8(text).map_err(|_| not_ours())?,
        descriptor,
    })
}

/// Hears what must be a `tag`.
///
/// # Errors
/// In words: what was said instead, or why nothing was heard.
pub(super) fn expect(stream: &mut UnixStream, tag: Tag) -> Result<Frame, String> {
    match hear(stream) {
        Ok(frame) if frame.tag == tag => Ok(frame),
        Ok(Frame {
            tag: Tag::Refused,
            text,
            ..
        }) => Err(text),
        Ok(frame) => Err(format!("it says {:?} where {tag:?} was due", frame.tag)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(format!("it did not say {tag:?} in time"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The other side's process, which must be of the same user.
///
/// # Errors
/// It is not, in words.
pub(super) fn peer(stream: &UnixStream) -> Result<u32, String> {
    let peer = socket_peercred(stream).map_err(|error| format!("the other process cannot be known: {error}"))?;
    if peer.uid != geteuid() {
        return Err(format!("the other process is of another user ({})", peer.uid.as_raw()));
    }
    if peer.pid == getpid() {
        return Err("a process cannot take over from itself".to_owned());
    }
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn pair() -> (UnixStream, UnixStream) {
        let (one, two) = UnixStream::pair().expect("two sockets");
        two.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        (one, two)
    }

    #[test]
    fn what_is_said_is_heard() {
        let (mut one, mut two) = pair();
        for tag in Tag::ALL {
            say(&mut one, tag, "a text", None).expect("somebody listens");
        }
        for tag in Tag::ALL {
            let frame = hear(&mut two).expect("something is said");
            assert_eq!((frame.tag, frame.text.as_str()), (tag, "a text"));
            assert!(frame.descriptor.is_none());
        }
        drop(one);
        assert_eq!(
            hear(&mut two).expect_err("nobody speaks").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_socket_that_was_passed_takes_connections() {
        let (mut one, mut two) = pair();
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        let waiting = TcpStream::connect(address).expect("it listens");
        say(&mut one, Tag::Socket, "x", Some(socket.as_fd())).expect("somebody listens");
        drop(socket);
        let passed = hear(&mut two)
            .expect("a socket")
            .descriptor
            .expect("with its descriptor");
        let (_, peer) = TcpListener::from(passed).accept().expect("the queue came with it");
        assert_eq!(peer, waiting.local_addr().expect("it is connected"));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let check = |bytes: &[u8]| {
            let (mut one, mut two) = pair();
            one.write_all(bytes).expect("somebody listens");
            drop(one);
            hear(&mut two).expect_err("no frame");
        };
        check(b"X\0\0");
        check(b"GET / HTTP/1.1\r\n\r\n");
        check(b"H\xff\xff");
        check(b"H\0\x02a");
        check(b"H\0\x01\xff");
        check(b"H");
        check(b"");
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let (mut one, mut two) = pair();
        say(&mut one, Tag::Refused, "busy", None).expect("somebody listens");
        assert_eq!(expect(&mut two, Tag::Released).expect_err("refused"), "busy");
        say(&mut one, Tag::End, "", None).expect("somebody listens");
        assert!(
            expect(&mut two, Tag::Released)
                .expect_err("not due")
                .contains("Released")
        );
    }
}
