//! seccomp: calls into the kernel that an isolated command does not get.
//!
//! Landlock judges TCP connections and nothing else, so the ways around it are closed here: other stream protocols that fall back to TCP, data sent along with the opening of a connection, and rings, which send without a call.
//! Unix sockets are closed where the machine's own could be reached: the bus, Docker, and the gateway, for which the kernel's word about the peer is a password.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter};

/// Kinds of sockets that stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// Unix sockets.
    pub unix: bool,
    /// IPv4 and IPv6.
    pub inet: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Marks calls of the x32 ABI, which the kernel may serve to 64-bit programs.
const X32: i64 = 0x4000_0000;
/// Data in the first packet of a connection.
const MSG_FASTOPEN: u64 = 0x2000_0000;
const TCP_FASTOPEN_CONNECT: u64 = 30;
const SOCKET_TYPE: u64 = 0xf;

/// Calls of the hardened plan that fail: debugging others, keys, mounts, namespaces, the machine itself.
const HARDENED: [i64; 31] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Closes calls of this process and of all that it starts, for good.
///
/// # Errors
/// The kernel has no seccomp, or the processor is none that is known here.
pub fn close(families: Families, hardened: bool) -> Result<(), String> {
    // As on a kernel that is too old for them, so that programs fall back.
    let mut unknown = Rules::new();
    every_form(&mut unknown, &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter], &[]);
    if hardened {
        // Its flags are in memory, where they cannot be judged; `clone` is asked next.
        every_form(&mut unknown, &[libc::SYS_clone3], &[]);
    }
    apply(unknown, libc::ENOSYS)?;
    let mut refused = Rules::new();
    every_form(&mut refused, &[libc::SYS_socket], &sockets(families)?);
    let early = |arg| Ok::<_, String>(vec![rule(vec![is(arg, SeccompCmpOp::MaskedEq(MSG_FASTOPEN), MSG_FASTOPEN)?])?]);
    every_form(&mut refused, &[libc::SYS_sendto, libc::SYS_sendmmsg], &early(3)?);
    every_form(&mut refused, &[libc::SYS_sendmsg], &early(2)?);
    let option = rule(vec![is(1, SeccompCmpOp::Eq, libc::IPPROTO_TCP as u64)?, is(2, SeccompCmpOp::Eq, TCP_FASTOPEN_CONNECT)?])?;
    every_form(&mut refused, &[libc::SYS_setsockopt], &[option]);
    if cfg!(target_arch = "x86_64") {
        // These have numbers of their own in the x32 ABI: sendmsg, sendmmsg, setsockopt, ptrace.
        for number in [518, 538, 541, 521] {
            refused.insert(X32 | number, Vec::new());
        }
    }
    apply(refused, libc::EAFNOSUPPORT)?;
    if hardened {
        let mut denied = Rules::new();
        every_form(&mut denied, &HARDENED, &[]);
        let new_user = libc::CLONE_NEWUSER as u64;
        every_form(&mut denied, &[libc::SYS_clone], &[rule(vec![is(0, SeccompCmpOp::MaskedEq(new_user), new_user)?])?]);
        apply(denied, libc::EPERM)?;
    }
    Ok(())
}

/// Which calls of `socket` are refused.
fn sockets(families: Families) -> Result<Vec<SeccompRule>, String> {
    let mut open = vec![libc::AF_NETLINK];
    open.extend(families.unix.then_some(libc::AF_UNIX));
    let inet = [libc::AF_INET, libc::AF_INET6];
    open.extend(inet.iter().filter(|_| families.inet));
    let others: Result<Vec<_>, _> = open.iter().map(|family| is(0, SeccompCmpOp::Ne, *family as u64)).collect();
    let mut rules = vec![rule(others?)?];
    for family in inet {
        let family = || is(0, SeccompCmpOp::Eq, family as u64);
        let kind = |kind: i32| is(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), kind as u64);
        // Streams are TCP, which is judged; MPTCP and others are not.
        rules.push(rule(vec![
            family()?,
            kind(libc::SOCK_STREAM)?,
            is(2, SeccompCmpOp::Ne, 0)?,
            is(2, SeccompCmpOp::Ne, libc::IPPROTO_TCP as u64)?,
        ])?);
        for other in [libc::SOCK_SEQPACKET, libc::SOCK_RDM, libc::SOCK_DCCP] {
            rules.push(rule(vec![family()?, kind(other)?])?);
        }
    }
    Ok(rules)
}

/// The calls in both of their forms; without rules always.
fn every_form(rules: &mut Rules, calls: &[i64], when: &[SeccompRule]) {
    for call in calls {
        rules.insert(*call, when.to_vec());
        if cfg!(target_arch = "x86_64") {
            rules.insert(X32 | *call, when.to_vec());
        }
    }
}

fn is(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).map_err(|cause| cause.to_string())
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|cause| cause.to_string())
}

fn apply(rules: Rules, errno: i32) -> Result<(), String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| format!("no filters are known for {}", std::env::consts::ARCH))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|cause| cause.to_string())?;
    apply_filter(&program).map_err(|cause| cause.to_string())
}
