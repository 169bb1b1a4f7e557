//! Batches: recvmmsg and sendmmsg, the address that was asked, and the queue of ICMP errors.

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use libc::{c_int, c_void};
use socket2::Socket;

use super::{Arrival, BATCH, Inbox, Local, Outgoing};

/// Whether [`reap`] counts ICMP errors exactly, so that errors of other calls need not be counted.
pub const REAPS: bool = true;

/// A sockaddr of either family: the larger of the two, which begins like the smaller.
type Name = libc::sockaddr_in6;

/// Room for control messages: ours, and a few that the owner of a borrowed socket may have asked for.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

type Many<T> = [MaybeUninit<T>; BATCH];

const fn many<T>() -> Many<T> {
    [const { MaybeUninit::uninit() }; BATCH]
}

/// Asks for the ICMP errors, which an unconnected socket does not get otherwise, and for the address that was asked.
pub fn prepare(socket: &Socket, wildcard: bool) -> io::Result<()> {
    let six = socket.local_addr()?.is_ipv6();
    let fd = socket.as_raw_fd();
    if six {
        switch_on(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)?;
        // A socket for both families gets the errors of IPv4 by its own option.
        if !socket.only_v6()? {
            switch_on(fd, libc::IPPROTO_IP, libc::IP_RECVERR)?;
        }
        if wildcard {
            switch_on(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        }
    } else {
        switch_on(fd, libc::IPPROTO_IP, libc::IP_RECVERR)?;
        if wildcard {
            switch_on(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        }
    }
    Ok(())
}

fn switch_on(fd: RawFd, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the option's value is a live c_int, and its size is given.
    let code = unsafe {
        libc::setsockopt(fd, level, option, ptr::from_ref(&on).cast(), size_of::<c_int>() as libc::socklen_t)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives as many datagrams as there are, up to a batch, without waiting.
pub fn receive(socket: &Socket, inbox: &mut Inbox) -> io::Result<()> {
    let mut names: Many<Name> = many();
    let mut controls: Many<Control> = many();
    let mut pieces: Many<libc::iovec> = many();
    let mut headers: Many<libc::mmsghdr> = many();
    for (i, slot) in inbox.slots().take(BATCH).enumerate() {
        let piece = pieces[i].write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() });
        // SAFETY: mmsghdr is plain data, for which zeros are valid.
        let header = headers[i].write(unsafe { zeroed() });
        header.msg_hdr.msg_name = names[i].as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
        header.msg_hdr.msg_iov = piece;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = controls[i].as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = size_of::<Control>() as _;
    }
    // SAFETY: all headers are written, and what they point to (names, pieces, controls, the inbox) outlives the call.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            BATCH as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    for (slot, header) in headers.iter().enumerate().take(count) {
        // SAFETY: it was written above, and by the system since.
        let header = unsafe { header.assume_init_ref() };
        // SAFETY: the system wrote as much of the name and of the control messages as the header now says.
        let (peer, local) = unsafe { (peer_of(&header.msg_hdr), local_of(&header.msg_hdr)) };
        let Some(peer) = peer else { continue };
        inbox.arrivals.push(Arrival {
            slot,
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            peer,
            local,
        });
    }
    Ok(())
}

/// Sends as many of at most a batch as the system takes without waiting; gives their number, at least one.
pub fn send(socket: &Socket, out: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut names: Many<Name> = many();
    let mut controls: Many<Control> = many();
    let mut pieces: Many<libc::iovec> = many();
    let mut headers: Many<libc::mmsghdr> = many();
    let count = out.len().min(BATCH);
    for (i, one) in out.iter().enumerate().take(count) {
        let (name, length) = name_of(one.peer);
        // The system only reads through this pointer.
        let data = one.data.as_ptr().cast_mut().cast::<c_void>();
        let piece = pieces[i].write(libc::iovec { iov_base: data, iov_len: one.data.len() });
        // SAFETY: mmsghdr is plain data, for which zeros are valid.
        let header = headers[i].write(unsafe { zeroed() });
        header.msg_hdr.msg_name = ptr::from_mut(names[i].write(name)).cast();
        header.msg_hdr.msg_namelen = length;
        header.msg_hdr.msg_iov = piece;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(local) = one.local {
            header.msg_hdr.msg_control = ptr::from_mut(controls[i].write(Control([0; 128]))).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            leave_from(&mut header.msg_hdr, local);
        }
    }
    // SAFETY: `count` headers are written, and what they point to (names, pieces, controls, `out`) outlives the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Empties the queue of errors (it takes from the room for datagrams) and counts those that are ICMP.
#[must_use]
pub fn reap(socket: &Socket) -> usize {
    let mut found = 0;
    loop {
        let mut control = Control([0; 128]);
        // Room for a byte of what was sent: without any, qemu says that all went well and does nothing, for ever.
        let mut byte = 0_u8;
        let mut piece = libc::iovec { iov_base: ptr::from_mut(&mut byte).cast(), iov_len: 1 };
        // SAFETY: msghdr is plain data, for which zeros are valid.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(&mut control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the header points to live memory of the size it says, and to no name.
        let code =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if code < 0 {
            return found;
        }
        // SAFETY: the system wrote as much of the control messages as the header now says.
        found += usize::from(unsafe { is_icmp(&header) });
    }
}

/// Finds a control message of one of the kinds asked for, and reads its value.
///
/// # Safety
/// The control messages of the header must be as the system left them, and each kind must have a `T` as its value.
unsafe fn find<T>(header: &libc::msghdr, kinds: &[(c_int, c_int)]) -> Option<T> {
    // SAFETY: the caller vouches for the header; CMSG_FIRSTHDR and CMSG_NXTHDR stay within its length.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: not null, so a whole header of a control message lies there.
        let message = unsafe { &*at };
        // SAFETY: only arithmetic.
        let enough = message.cmsg_len as usize >= unsafe { libc::CMSG_LEN(size_of::<T>() as u32) } as usize;
        if enough && kinds.contains(&(message.cmsg_level, message.cmsg_type)) {
            // SAFETY: the value is as long as a T, which is plain data; it need not be aligned.
            return Some(unsafe { libc::CMSG_DATA(at).cast::<T>().read_unaligned() });
        }
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    None
}

/// # Safety
/// As for [`find`].
unsafe fn is_icmp(header: &libc::msghdr) -> bool {
    let kinds = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
    // SAFETY: the caller vouches; both kinds carry a sock_extended_err.
    let error = unsafe { find::<libc::sock_extended_err>(header, &kinds) };
    error.is_some_and(|error| matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6))
}

/// # Safety
/// As for [`find`].
unsafe fn local_of(header: &libc::msghdr) -> Option<Local> {
    // SAFETY: the caller vouches; the kind carries an in_pktinfo.
    let four = unsafe { find::<libc::in_pktinfo>(header, &[(libc::IPPROTO_IP, libc::IP_PKTINFO)]) };
    if let Some(info) = four {
        // Not the address of the header, which may be a broadcast, but the one of ours that the system would use.
        let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
        return Some(Local { address: IpAddr::V4(address), interface: info.ipi_ifindex as u32 });
    }
    // SAFETY: the caller vouches; the kind carries an in6_pktinfo.
    let six = unsafe { find::<libc::in6_pktinfo>(header, &[(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)]) };
    let info = six?;
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let source = !address.is_multicast();
    source.then_some(Local { address: IpAddr::V6(address), interface: info.ipi6_ifindex })
}

/// Writes the one control message that says where a datagram is to leave from, and its length into the header.
fn leave_from(header: &mut libc::msghdr, local: Local) {
    match local.address {
        IpAddr::V4(address) => {
            let info = libc::in_pktinfo {
                // The route, not the interface it came in by, decides where it goes out.
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(address).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                // An address of one link means nothing without the link.
                ipi6_ifindex: if address.is_unicast_link_local() { local.interface } else { 0 },
            };
            put(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

fn put<T>(header: &mut libc::msghdr, level: c_int, kind: c_int, value: T) {
    // SAFETY: the header's control memory is a zeroed Control, which is larger than CMSG_SPACE of either value.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
        header.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}

/// # Safety
/// `msg_name` must hold `msg_namelen` bytes that the system wrote, in memory for a [`Name`].
unsafe fn peer_of(header: &libc::msghdr) -> Option<SocketAddr> {
    let length = header.msg_namelen as usize;
    if length < size_of::<libc::sockaddr_in>() {
        return None;
    }
    // SAFETY: both kinds of name begin with the family, and at least a sockaddr_in was written.
    let four = unsafe { &*header.msg_name.cast::<libc::sockaddr_in>() };
    match c_int::from(four.sin_family) {
        libc::AF_INET => {
            let address = Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(four.sin_port))))
        }
        libc::AF_INET6 if length >= size_of::<Name>() => {
            // SAFETY: the family says so and the length agrees.
            let six = unsafe { &*header.msg_name.cast::<Name>() };
            let address = Ipv6Addr::from(six.sin6_addr.s6_addr);
            let port = u16::from_be(six.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(address, port, six.sin6_flowinfo, six.sin6_scope_id)))
        }
        _ => None,
    }
}

fn name_of(peer: SocketAddr) -> (Name, libc::socklen_t) {
    // SAFETY: sockaddr_in6 is plain data, for which zeros are valid.
    let mut name: Name = unsafe { zeroed() };
    match peer {
        SocketAddr::V4(peer) => {
            let four = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: peer.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*peer.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: a Name is larger than a sockaddr_in and at least as aligned.
            unsafe { ptr::from_mut(&mut name).cast::<libc::sockaddr_in>().write(four) };
            (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(peer) => {
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = peer.port().to_be();
            name.sin6_addr = libc::in6_addr { s6_addr: peer.ip().octets() };
            name.sin6_scope_id = peer.scope_id();
            (name, size_of::<Name>() as libc::socklen_t)
        }
    }
}
