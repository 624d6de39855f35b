//! The life of requests, grants and codes, one rule at a time and then in random order.

use proptest::prelude::*;

use super::*;
use crate::store::devices::Grant;

const START: Now = Now { wall: 1_795_132_800_000, steady: 1_000 };
const TOKEN: [u8; 32] = [5; 32];

fn scopes(names: &[Scope]) -> ScopeSet {
    ScopeSet::of(names)
}

fn later(ms: u64) -> Now {
    Now { wall: START.wall + ms, steady: START.steady + ms }
}

fn ask(device: &str, wanted: &[Scope], address: &str) -> Ask {
    Ask {
        device_id: device.to_owned(),
        public_key: format!("key of {device}"),
        role: "operator",
        scopes: scopes(wanted),
        described: Described { display_name: Some(format!("\u{202e}{device}")), ..Described::default() },
        address: address.parse().ok(),
        reason: "not-paired",
    }
}

const OWNER: Approver<'static> = Approver { scopes: ScopeSet::ALL, local: false, device: None };
const LOCAL: Approver<'static> = Approver { scopes: ScopeSet::NONE, local: true, device: None };

fn pairing(names: &[Scope]) -> Approver<'static> {
    Approver { scopes: scopes(names), local: false, device: None }
}

/// Asks, and has it written.
fn asked(book: &mut Book, ask: Ask, id: &str, now: Now) -> PairRequest {
    let asked = book.request(ask, id.to_owned(), now).unwrap();
    book.apply(asked.writes, now);
    asked.request
}

fn approved(book: &mut Book, id: &str, now: Now) -> DeviceRecord {
    let (device, _, writes) = book.approve(id, &OWNER, None, now).unwrap();
    book.apply(writes, now);
    device
}

/// A book with device `d`, approved for read and write, and with its token in use.
fn paired() -> Book {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[Scope::Read, Scope::Write], "203.0.113.1"), "r", START);
    approved(&mut book, "r", START);
    let (_, write) = book.claim("d", "operator", TOKEN, START).unwrap();
    book.apply([write], START);
    let used = book.used("d", "operator", START).unwrap();
    book.apply([used], START);
    book
}

fn grant(book: &Book, device: &str) -> Grant {
    book.devices[device].grants[0].clone()
}

#[test]
fn m57_a_device_that_asks_again_gets_the_same_request() {
    let mut book = Book::default();
    let first = asked(&mut book, ask("d", &[Scope::Write], "203.0.113.1"), "r-1", START);
    assert_eq!(first.described.display_name.as_deref(), Some("\\u{202e}d"), "what it says of itself is made harmless");
    for wanted in [&[Scope::Write][..], &[Scope::Read], &[]] {
        let again = book.request(ask("d", wanted, "203.0.113.2"), "r-2".to_owned(), later(299_999)).unwrap();
        assert_eq!((again.request.request_id.as_str(), again.is_new, again.writes.len()), ("r-1", false, 0));
    }
    let anew = book.request(ask("d", &[Scope::Write], "203.0.113.1"), "r-2".to_owned(), later(300_000)).unwrap();
    assert_eq!((anew.request.request_id.as_str(), anew.is_new), ("r-2", true), "its time was over");
}

#[test]
fn m58_who_was_rejected_asks_again_later_and_not_at_once() {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[Scope::Read], "203.0.113.1"), "r-1", START);
    let (_, writes) = book.reject("r-1", later(10)).unwrap();
    book.apply(writes, later(10));
    let again = |now| book.request(ask("d", &[Scope::Admin], "203.0.113.1"), "r-2".to_owned(), now);
    assert_eq!(again(later(10)).unwrap_err(), Denied::Rejected { retry_after_ms: 299_990 });
    assert!(again(later(300_000)).unwrap().is_new);
    assert!(book.request(ask("e", &[Scope::Admin], "203.0.113.1"), "r-3".to_owned(), later(10)).is_ok(), "others may");
}

#[test]
fn m58_a_pending_request_never_grows_under_the_hand_of_who_approves_it() {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[Scope::Read], "203.0.113.1"), "r-1", START);
    let wider = book.request(ask("d", &[Scope::Admin], "203.0.113.1"), "r-2".to_owned(), START).unwrap();
    assert_eq!(wider.replaced.as_ref().map(|old| old.request_id.as_str()), Some("r-1"));
    book.apply(wider.writes, START);
    assert_eq!(book.approve("r-1", &OWNER, None, START).unwrap_err(), Denied::Expired);
    assert_eq!(book.pending(START).iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>(), ["r-2"]);
}

#[test]
fn m57_who_asks_for_more_from_a_full_address_is_refused_like_anybody_else() {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[Scope::Read], "203.0.113.1"), "r", START);
    for n in 0..3 {
        asked(&mut book, ask(&format!("d-{n}"), &[], "203.0.113.2"), &format!("r-{n}"), START);
    }
    let wider = |address: &str| book.request(ask("d", &[Scope::Admin], address), "x".to_owned(), START);
    assert!(matches!(wider("203.0.113.2"), Err(Denied::Full { .. })));
    assert!(wider("203.0.113.1").unwrap().replaced.is_some(), "its own earlier request takes no place from it");
}

#[test]
fn m57_the_fourth_of_an_address_and_the_twenty_first_of_all_are_refused_until_one_expires() {
    let mut book = Book::default();
    for n in 0..3 {
        asked(&mut book, ask(&format!("d-{n}"), &[], "2001:db8::1"), &format!("r-{n}"), later(n));
    }
    let full = book.request(ask("other", &[], "2001:db8::ffff"), "x".to_owned(), later(10)).unwrap_err();
    assert_eq!(full, Denied::Full { retry_after_ms: 299_990 }, "one /64 is one client");
    for n in 3..20 {
        asked(&mut book, ask(&format!("d-{n}"), &[], &format!("203.0.113.{n}")), &format!("r-{n}"), later(n));
    }
    assert!(matches!(book.request(ask("other", &[], "198.51.100.1"), "x".to_owned(), later(30)), Err(Denied::Full { .. })));
    assert!(!book.request(ask("d-7", &[], "198.51.100.1"), "x".to_owned(), later(30)).unwrap().is_new, "who waits already still does");
    let (expired, writes) = book.expire(later(300_000));
    assert_eq!(expired.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>(), ["r-0"]);
    book.apply(writes, later(300_000));
    assert!(book.request(ask("other", &[], "198.51.100.1"), "x".to_owned(), later(300_000)).is_ok());
}

#[test]
fn m58_nobody_hands_on_more_than_they_have_and_only_the_owner_hears_why() {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[Scope::Admin], "203.0.113.1"), "r", START);
    let clerk = pairing(&[Scope::Pairing, Scope::Read, Scope::Write, Scope::Approvals]);
    let denied = book.approve("r", &clerk, None, START).unwrap_err();
    assert_eq!((denied, denied.told_to(&clerk, Denied::NoRequest)), (Denied::Above, Denied::NoRequest));
    let own = Approver { device: Some("d"), ..OWNER };
    let denied = book.approve("r", &own, None, START).unwrap_err();
    assert_eq!((denied, denied.told_to(&own, Denied::NoRequest)), (Denied::Own, Denied::Own));
    let (device, ..) = book.approve("r", &clerk, Some(scopes(&[Scope::Read])), START).unwrap();
    assert_eq!(device.grants[0].scopes, scopes(&[Scope::Read]), "less than was asked for can be granted");
    assert_eq!(book.approve("r", &pairing(&[Scope::Pairing]), Some(scopes(&[Scope::Read])), START).unwrap_err(), Denied::Above);
}

#[test]
fn m58_an_admin_device_takes_an_admin_or_the_local_socket() {
    for approver in [OWNER, LOCAL] {
        let mut book = Book::default();
        asked(&mut book, ask("d", &[Scope::Admin], "203.0.113.1"), "r", START);
        assert_eq!(book.approve("r", &approver, None, START).unwrap().0.grants[0].scopes, scopes(&[Scope::Admin]));
    }
}

#[test]
fn m58_expired_decided_and_unknown_requests_are_told_apart() {
    let mut book = Book::default();
    for id in ["late", "no", "yes"] {
        asked(&mut book, ask(id, &[Scope::Read], "203.0.113.1"), id, START);
    }
    let (_, writes) = book.reject("no", START).unwrap();
    book.apply(writes, START);
    approved(&mut book, "yes", START);
    let approve = |book: &Book, id: &str, now| book.approve(id, &OWNER, None, now).unwrap_err();
    assert_eq!(approve(&book, "no", START), Denied::Decided(RequestState::Rejected));
    assert_eq!(approve(&book, "yes", START), Denied::Decided(RequestState::Approved));
    assert_eq!(book.reject("yes", START).unwrap_err(), Denied::Decided(RequestState::Approved));
    assert_eq!(approve(&book, "late", later(300_000)), Denied::Expired, "before it is swept");
    let (_, writes) = book.expire(later(300_000));
    book.apply(writes, later(300_000));
    assert_eq!(approve(&book, "late", later(300_000)), Denied::Expired, "and after");
    assert_eq!(approve(&book, "never", START), Denied::NoRequest);
}

#[test]
fn m92_a_clock_that_jumps_neither_ends_nor_prolongs_a_request() {
    let mut book = Book::default();
    asked(&mut book, ask("d", &[], "203.0.113.1"), "r", START);
    let day = 86_400_000;
    let ahead = Now { wall: START.wall + day, steady: START.steady + 299_999 };
    let behind = Now { wall: START.wall - day, steady: START.steady + 300_000 };
    assert_eq!((book.pending(ahead).len(), book.pending(behind).len()), (1, 0));
    // Over a restart only the wall clock tells, and it can at most begin the time anew.
    let rows = || DeviceRows { requests: vec![book.requests["r"].row.clone()], ..DeviceRows::default() };
    let reloaded = Book::load(rows(), Now { wall: START.wall - day, steady: 0 });
    assert_eq!((reloaded.pending(Now { wall: 0, steady: 299_999 }).len(), reloaded.next_end()), (1, Some(300_000)));
    assert_eq!(Book::load(rows(), Now { wall: START.wall + 200_000, steady: 0 }).next_end(), Some(100_000));
}

#[test]
fn a_token_is_fetched_by_signature_until_it_was_used_and_never_again() {
    let mut book = Book::default();
    let wanted = scopes(&[Scope::Read]);
    assert_eq!(book.recognise("d", "operator", None, wanted, START), Recognised::MustAsk("not-paired"));
    asked(&mut book, ask("d", &[Scope::Read], "203.0.113.1"), "r", START);
    assert!(book.claim("d", "operator", TOKEN, START).is_none());
    approved(&mut book, "r", START);
    for token in [[1; 32], TOKEN] {
        assert!(matches!(book.recognise("d", "operator", None, wanted, START), Recognised::Claim(_)));
        let (_, write) = book.claim("d", "operator", token, START).unwrap();
        book.apply([write], START);
    }
    assert_eq!(book.recognise("d", "operator", Some(&[1; 32]), wanted, START), Recognised::Wrong, "the lost answer's token is dead");
    assert!(matches!(book.recognise("d", "operator", Some(&TOKEN), wanted, START), Recognised::Token(_)));
    let used = book.used("d", "operator", START).unwrap();
    book.apply([used], START);
    assert!(book.used("d", "operator", later(59_999)).is_none() && book.used("d", "operator", later(60_000)).is_some());
    assert_eq!(book.recognise("d", "operator", None, wanted, START), Recognised::MustAsk("token-lost"));
    assert_eq!(book.recognise("d", "operator", None, scopes(&[Scope::Admin]), START), Recognised::MustAsk("scope-upgrade"));
    assert_eq!(book.recognise("d", "node", None, ScopeSet::NONE, START), Recognised::MustAsk("role-upgrade"));
    assert_eq!(book.recognise("e", "operator", Some(&TOKEN), wanted, START), Recognised::Wrong, "it is bound to the key");
    assert!(book.claim("d", "operator", [2; 32], START).is_none());
}

#[test]
fn an_approval_for_more_keeps_the_old_token_until_the_new_one_is_fetched() {
    let mut book = paired();
    asked(&mut book, ask("d", &[Scope::Approvals], "203.0.113.1"), "r-2", later(5));
    approved(&mut book, "r-2", later(6));
    let held = grant(&book, "d");
    assert_eq!((held.scopes, held.digest), (scopes(&[Scope::Read, Scope::Write, Scope::Approvals]), Some(TOKEN)));
    assert_eq!((book.devices["d"].created_at, book.devices["d"].approved_at), (START.wall, START.wall + 6));
}

#[test]
fn m59_a_revoked_grant_is_dead_and_what_comes_after_it_begins_from_nothing() {
    let mut book = paired();
    let write = book.revoke("d", "operator", &OWNER, later(1)).unwrap();
    book.apply([write], later(1));
    assert_eq!(book.recognise("d", "operator", Some(&TOKEN), ScopeSet::NONE, later(1)), Recognised::Wrong);
    assert_eq!(book.recognise("d", "operator", None, ScopeSet::NONE, later(1)), Recognised::MustAsk("revoked"));
    assert_eq!(book.revoke("d", "operator", &OWNER, later(2)).unwrap_err(), Denied::NoDevice);
    assert_eq!(book.rotate("d", "operator", None, None, &OWNER, later(2)).unwrap_err(), Denied::NoDevice);
    asked(&mut book, ask("d", &[Scope::Approvals], "203.0.113.1"), "r-2", later(3));
    approved(&mut book, "r-2", later(3));
    assert_eq!((grant(&book, "d").scopes, grant(&book, "d").digest), (scopes(&[Scope::Approvals]), None));
}

#[test]
fn rotation_only_takes_away_and_never_reaches_above_the_caller() {
    let mut book = paired();
    let clerk = pairing(&[Scope::Pairing, Scope::Read]);
    for denied in [
        book.rotate("d", "operator", None, None, &clerk, START).unwrap_err(),
        book.rotate("d", "operator", Some(scopes(&[Scope::Read])), None, &clerk, START).unwrap_err(),
        book.revoke("d", "operator", &clerk, START).unwrap_err(),
        book.remove("d", &clerk).unwrap_err(),
        book.rotate("nobody", "operator", None, None, &clerk, START).unwrap_err(),
    ] {
        assert_eq!(denied.told_to(&clerk, Denied::NoDevice), Denied::NoDevice, "{denied:?} must look like an unknown device");
    }
    assert_eq!(book.rotate("d", "operator", Some(scopes(&[Scope::Admin])), None, &OWNER, START).unwrap_err(), Denied::Beyond);
    let (rotated, write) = book.rotate("d", "operator", Some(scopes(&[Scope::Read])), None, &OWNER, START).unwrap();
    assert_eq!((rotated.scopes, rotated.digest), (scopes(&[Scope::Read]), None));
    book.apply([write], START);
    assert_eq!(book.recognise("d", "operator", Some(&TOKEN), ScopeSet::NONE, START), Recognised::Wrong);
    assert!(matches!(book.recognise("d", "operator", None, ScopeSet::NONE, START), Recognised::Claim(_)));
    let (_, write) = book.rotate("d", "operator", None, Some([8; 32]), &OWNER, START).unwrap();
    book.apply([write], START);
    assert!(matches!(book.recognise("d", "operator", Some(&[8; 32]), ScopeSet::NONE, START), Recognised::Token(_)));
}

#[test]
fn a_setup_code_lets_the_first_key_in_and_no_other() {
    let mut book = Book::default();
    let clerk = pairing(&[Scope::Pairing, Scope::Read]);
    let make = |book: &Book, names: &[Scope]| book.make_code([1; 32], "operator", scopes(names), "local", &clerk, START);
    assert_eq!(make(&book, &[Scope::Admin]).unwrap_err(), Denied::Above);
    let code = make(&book, &[Scope::Read]).unwrap();
    book.apply([DeviceWrite::Code(Box::new(code))], START);
    let by = |book: &Book, device: &str, code: u8, now| book.use_code(&[code; 32], ask(device, &[Scope::Admin], "203.0.113.1"), TOKEN, now);
    assert_eq!(by(&book, "d", 2, START).unwrap_err(), Denied::NoRequest);
    assert_eq!(by(&book, "d", 1, later(600_000)).unwrap_err(), Denied::NoRequest, "its time is over");
    let (device, writes) = by(&book, "d", 1, later(599_999)).unwrap();
    assert_eq!((device.grants[0].scopes, device.grants[0].digest), (scopes(&[Scope::Read]), Some(TOKEN)), "as much as the code says");
    book.apply(writes, later(599_999));
    assert_eq!(by(&book, "e", 1, later(1)).unwrap_err(), Denied::NoRequest);
    assert!(by(&book, "d", 1, later(1)).is_ok(), "the answer to the first may have been lost");
    assert_eq!(book.expire(later(600_000)).1, [DeviceWrite::NoCode([1; 32])]);
}

#[test]
fn a_node_is_granted_its_role_and_no_scope() {
    let mut book = Book::default();
    let node = Ask { role: "node", ..ask("n", &[Scope::Admin], "203.0.113.1") };
    assert_eq!(asked(&mut book, node, "r", START).scopes, ScopeSet::NONE);
    assert_eq!(approved(&mut book, "r", START).grants[0].role, "node");
}

fn any_scopes() -> impl Strategy<Value = Vec<Scope>> {
    proptest::collection::vec(proptest::sample::select(Scope::ALL.to_vec()), 0..4)
}

proptest! {
    /// Whatever happens in whatever order: the bounds hold, and no device holds more than the sum of what approvers held who said yes.
    #[test]
    fn bounds_hold_and_rights_only_come_from_approvers(
        steps in proptest::collection::vec((0_u8..6, 0_u8..30, any_scopes(), any_scopes(), 0_u64..120_000), 1..120)
    ) {
        let mut book = Book::default();
        let mut now = START;
        let mut sources: BTreeMap<String, ScopeSet> = BTreeMap::new();
        for (n, (what, who, wanted, held, wait)) in steps.into_iter().enumerate() {
            now = Now { wall: now.wall + wait, steady: now.steady + wait };
            let device = format!("d-{who}");
            let approver = pairing(&held);
            match what {
                0 | 1 => {
                    if let Ok(asked) = book.request(ask(&device, &wanted, &format!("203.0.113.{}", who % 9)), format!("r-{n}"), now) {
                        book.apply(asked.writes, now);
                    }
                }
                2 => {
                    let Some(id) = book.pending(now).first().map(|row| row.request_id.clone()) else { continue };
                    if let Ok((device, _, writes)) = book.approve(&id, &approver, None, now) {
                        let source = sources.entry(device.device_id).or_default();
                        *source = source.union(approver.ceiling());
                        book.apply(writes, now);
                    }
                }
                3 => {
                    if let Ok((_, write)) = book.rotate(&device, "operator", Some(scopes(&wanted)), None, &approver, now) {
                        book.apply([write], now);
                    }
                }
                4 => {
                    if let Ok(write) = book.revoke(&device, "operator", &approver, now) {
                        book.apply([write], now);
                    }
                }
                _ => {
                    let (_, writes) = book.expire(now);
                    book.apply(writes, now);
                }
            }
            prop_assert!(book.pending(now).len() <= MAX_PENDING);
            prop_assert!(book.requests.len() <= MAX_PENDING + MAX_DECIDED + MAX_PENDING);
            for device in book.devices() {
                let source = sources.get(&device.device_id).copied().unwrap_or_default();
                prop_assert!(device.grants.iter().all(|grant| grant.scopes.within(source)));
            }
        }
    }
}
