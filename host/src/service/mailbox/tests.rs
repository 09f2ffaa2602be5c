//! What a mailbox promises.

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

fn message(number: u64) -> Envelope {
    Envelope {
        kind: EnvelopeKind::Message,
        socket: Some(SocketId(1)),
        topic_len: 0,
        payload_start: 0,
        bytes: Bytes::copy_from_slice(&number.to_ne_bytes()),
    }
}

fn by(socket: i32, value: u64) -> Envelope {
    Envelope { socket: Some(SocketId(socket)), ..message(value) }
}

fn lane(messages: usize, when_full: WhenFull) -> LanePlan {
    let limits = MailboxLimits { messages, bytes: 1000 };
    LanePlan { kind: EnvelopeKind::Task, limits, when_full }
}

fn number(envelope: &Envelope) -> u64 {
    u64::from_ne_bytes(envelope.bytes[..].try_into().expect("eight bytes"))
}

fn mailbox(messages: usize, bytes: usize) -> Mailbox {
    Mailbox::new(MailboxLimits { messages, bytes }).expect("an eventfd")
}

fn take_all(mailbox: &Mailbox) -> Vec<Envelope> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        mailbox.take(7, &mut |envelope| all.push(envelope));
        if all.len() == before {
            return all;
        }
    }
}

fn readable(mailbox: &Mailbox, seconds: i64) -> bool {
    let fd = mailbox.fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).expect("poll") == 1
}

#[test]
fn a_word_from_the_host_has_its_own_lane_and_waits_once() {
    let mailbox = mailbox(10, 1000);
    mailbox.push_batch(&mut vec![message(1), message(2)]);
    mailbox.push_control(EnvelopeKind::Stop);
    mailbox.push_control(EnvelopeKind::LogLevel);
    mailbox.push_control(EnvelopeKind::Stop);
    assert_eq!(take_all(&mailbox).len(), 2);
    assert!(readable(&mailbox, 0), "taking messages does not swallow the word's wake-up");
    assert_eq!(mailbox.take_control(), Some(EnvelopeKind::Stop));
    assert_eq!(mailbox.take_control(), Some(EnvelopeKind::LogLevel));
    assert_eq!(mailbox.take_control(), None);
}

#[test]
fn a_word_wakes_a_service_that_has_messages_waiting() {
    let mailbox = mailbox(10, 1000);
    mailbox.push_batch(&mut vec![message(1)]);
    rustix::io::read(mailbox.fd(), &mut [0_u8; 8]).expect("readable");
    mailbox.push_control(EnvelopeKind::Stop);
    assert!(readable(&mailbox, 0));
}

#[test]
fn the_newest_is_dropped_by_count_and_counted() {
    let mailbox = mailbox(3, 1000);
    assert_eq!(mailbox.push_batch(&mut (0..5).map(message).collect()), 2);
    assert_eq!(
        mailbox.stats(),
        LaneStats { depth: 3, high_mark: 3, bytes: 24, accepted: 3, dropped: 2 }
    );
    let numbers: Vec<_> = take_all(&mailbox).iter().map(number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!((mailbox.stats().bytes, mailbox.stats().depth), (0, 0));
}

#[test]
fn bytes_bound_it_too_but_one_message_always_fits() {
    let mailbox = mailbox(100, 4);
    assert_eq!(mailbox.push_batch(&mut vec![message(1), message(2)]), 1);
    assert_eq!(take_all(&mailbox).len(), 1);
    assert_eq!(mailbox.push_batch(&mut vec![message(3)]), 0);
}

#[test]
fn it_wakes_once_until_it_was_seen_empty() {
    let mailbox = mailbox(100, 1000);
    assert!(!readable(&mailbox, 0));
    mailbox.push_batch(&mut vec![message(1)]);
    mailbox.push_batch(&mut vec![message(2)]);
    let mut counter = [0_u8; 8];
    rustix::io::read(mailbox.fd(), &mut counter).expect("readable");
    assert_eq!(u64::from_ne_bytes(counter), 1);
    assert!(!readable(&mailbox, 0));
    assert_eq!(take_all(&mailbox).len(), 2);
    mailbox.push_batch(&mut vec![message(3)]);
    assert!(readable(&mailbox, 0));
    assert_eq!(take_all(&mailbox).len(), 1);
    assert!(!readable(&mailbox, 0), "seeing it empty resets the counter");
}

#[test]
fn a_batch_that_is_dropped_whole_does_not_wake() {
    let mailbox = mailbox(0, 1000);
    assert_eq!(mailbox.push_batch(&mut vec![message(1)]), 1);
    assert!(!readable(&mailbox, 0));
}

#[test]
fn a_full_mailbox_tells_when_there_is_room() {
    let mailbox = mailbox(8, 1000);
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let notice: RoomNotice = {
        let told = Arc::clone(&told);
        Arc::new(move || {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    };
    let calls = || told.load(std::sync::atomic::Ordering::Relaxed);
    mailbox.push_batch(&mut (0..7).map(message).collect());
    assert_eq!(
        mailbox.room_or(SocketId(1), &notice),
        Some(MailboxLimits { messages: 1, bytes: 944 })
    );
    mailbox.push_batch(&mut vec![message(7)]);
    assert_eq!(mailbox.room_or(SocketId(1), &notice), None);
    assert_eq!(mailbox.room_or(SocketId(1), &notice), None);
    mailbox.take(1, &mut drop);
    assert_eq!(calls(), 0, "a quarter must be free");
    mailbox.take(1, &mut drop);
    assert_eq!(calls(), 1);
    mailbox.take(2, &mut drop);
    assert_eq!(calls(), 1, "once");
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    const COUNT: u64 = 100_000;
    let mailbox = Arc::new(mailbox(usize::MAX, usize::MAX));
    let producer = {
        let mailbox = Arc::clone(&mailbox);
        std::thread::spawn(move || {
            let mut next = 0;
            while next < COUNT {
                let size = (next % 5) + 1;
                let mut batch = (next..(next + size).min(COUNT)).map(message).collect();
                assert_eq!(mailbox.push_batch(&mut batch), 0);
                next += size;
            }
        })
    };
    let mut expected = 0;
    while expected < COUNT {
        assert!(readable(&mailbox, 30), "lost wake-up after {expected} messages");
        let _ = rustix::io::read(mailbox.fd(), &mut [0_u8; 8]);
        for envelope in take_all(&mailbox) {
            assert_eq!(number(&envelope), expected);
            expected += 1;
        }
    }
    producer.join().expect("the producer");
    assert_eq!(mailbox.stats().accepted, COUNT);
}

#[test]
fn a_reader_that_was_left_behind_takes_no_wake_up_of_the_next_ones() {
    let mailbox = mailbox(10, 1000);
    let old = mailbox.fd().try_clone_to_owned().expect("a descriptor");
    mailbox.change_reader().expect("a descriptor");
    assert_eq!(rustix::io::read(&old, &mut [0_u8; 8]), Ok(8), "it is woken a last time");
    mailbox.push_batch(&mut vec![message(1)]);
    assert!(rustix::io::read(&old, &mut [0_u8; 8]).is_err(), "and never again");
    assert_eq!(rustix::io::read(mailbox.fd(), &mut [0_u8; 8]), Ok(8));
}

#[test]
fn a_full_lane_takes_no_room_from_another() {
    let mailbox = mailbox(3, 1000);
    assert_eq!(mailbox.push_batch(&mut (0..5).map(|n| by(1, n)).collect()), 2);
    assert_eq!(mailbox.push_batch(&mut vec![by(2, 10), by(2, 11)]), 0);
    assert_eq!(mailbox.lane_stats(SocketId(1)).dropped, 2);
    let second = mailbox.lane_stats(SocketId(2));
    assert_eq!((second.depth, second.bytes, second.dropped), (2, 16, 0));
    assert_eq!(mailbox.stats().depth, 5);
}

#[test]
fn lanes_together_keep_the_order_of_arrival() {
    let mailbox = mailbox(10, 1000);
    for n in 0..6 {
        mailbox.push(by(i32::from(n % 2 == 0), n));
    }
    assert_eq!(take_all(&mailbox).iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_held_socket_is_passed_over_and_keeps_its_messages() {
    let mailbox = mailbox(10, 1000);
    mailbox.push_batch(&mut vec![by(1, 1), by(2, 2), by(1, 3)]);
    assert_eq!(mailbox.take_without(&[1]).as_ref().map(number), Some(2));
    assert_eq!(mailbox.take_without(&[1]), None);
    assert!(!readable(&mailbox, 0), "what is held does not keep the reader awake");
    mailbox.push(by(2, 4));
    assert!(readable(&mailbox, 0));
    assert_eq!(take_all(&mailbox).iter().map(number).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn a_lane_that_drops_the_oldest_keeps_the_newest() {
    let mailbox = mailbox(10, 1000);
    mailbox.open_lane(SocketId(1), lane(3, WhenFull::DropOldest));
    assert_eq!(mailbox.push_batch(&mut (0..5).map(|n| by(1, n)).collect()), 2);
    let stats = mailbox.stats();
    assert_eq!((stats.depth, stats.accepted, stats.dropped, stats.high_mark), (3, 5, 2, 3));
    assert_eq!(take_all(&mailbox).iter().map(number).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn what_is_given_back_comes_first_again() {
    let mailbox = mailbox(10, 1000);
    mailbox.open_lane(SocketId(1), lane(2, WhenFull::DropNewest));
    mailbox.push_batch(&mut vec![by(1, 1), by(1, 2)]);
    let first = mailbox.take_without(&[]).expect("one waits");
    mailbox.push(by(1, 3));
    assert!(mailbox.give_back(SocketId(1), "", &first.bytes), "though the lane is full");
    let again = take_all(&mailbox);
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(again[0].kind, EnvelopeKind::Task);
    assert!(!mailbox.give_back(SocketId(7), "", b"{}"), "nobody asks for that socket's messages");
}

#[test]
fn the_lane_of_a_closed_socket_goes_when_it_is_empty() {
    let mailbox = mailbox(10, 1000);
    mailbox.open_lane(SocketId(1), lane(2, WhenFull::DropNewest));
    mailbox.push(by(1, 1));
    mailbox.close_lane(SocketId(1));
    assert_eq!(mailbox.lane_stats(SocketId(1)).depth, 1);
    assert_eq!(take_all(&mailbox).len(), 1);
    assert_eq!(mailbox.lane_stats(SocketId(1)), LaneStats::default());
    assert_eq!(mailbox.stats().accepted, 1, "the mailbox's own figures stay");
}

/// What a message costs on its way through the mailbox, push and take, in rounds of one burst. Run it in
/// release with `--ignored --nocapture`; it asserts nothing about time.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement is to be seen")]
fn what_a_message_costs() {
    const BURST: u64 = 64;
    let mailbox = mailbox(10_000, 1 << 20);
    let topic_len = 20;
    let bytes = Bytes::from(vec![b'x'; 100]);
    let message =
        |_| Envelope { topic_len, payload_start: topic_len, bytes: bytes.clone(), ..message(0) };
    let round = || {
        let start = std::time::Instant::now();
        for _ in 0..10_000 {
            mailbox.push_batch(&mut (0..BURST).map(message).collect());
            let mut taken = 0;
            mailbox.take(usize::MAX, &mut |_| taken += 1);
            assert_eq!(taken, BURST);
        }
        start.elapsed().as_secs_f64() * 1e9 / (10_000 * BURST) as f64
    };
    let mut rounds: Vec<_> = (0..20).map(|_| round()).collect();
    rounds.sort_unstable_by(f64::total_cmp);
    println!("push and take: least {:.1} ns, median {:.1} ns a message", rounds[0], rounds[10]);
}
