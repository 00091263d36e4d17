use proptest::prelude::*;

use super::{reader::*, *};

/// A client's frame.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0xFF);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

fn read_all(reader: &mut Reader) -> Result<Vec<Incoming>, Violation> {
    let mut read = Vec::new();
    while let Some(incoming) = reader.next()? {
        read.push(incoming);
    }
    Ok(read)
}

fn read(bytes: &[u8]) -> Result<Vec<Incoming>, Violation> {
    let mut reader = Reader::new(64 * 1024);
    reader.push(bytes);
    read_all(&mut reader)
}

fn text(text: &str) -> Incoming {
    Incoming::Text(text.to_owned())
}

const MASK: [u8; 4] = [1, 2, 3, 4];

/// threat:T18: what RFC 6455 does not allow is closed with its code.
#[test]
fn each_way_to_break_the_protocol_has_its_close_code() {
    let unmasked = Frame::text(b"hi").into_bytes();
    let mut long_form = vec![0x81, 0xFE, 0, 5];
    long_form.extend_from_slice(&[0; 9]);
    let table: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", unmasked.to_vec(), 1002),
        ("compressed", masked(0xC1, b"hi", MASK), 1002),
        ("reserved bit", masked(0x91, b"hi", MASK), 1002),
        ("unknown data opcode", masked(0x83, b"", MASK), 1002),
        ("unknown control opcode", masked(0x8B, b"", MASK), 1002),
        ("binary", masked(0x82, b"hi", MASK), 1003),
        ("ping in pieces", masked(0x09, b"", MASK), 1002),
        ("long ping", masked(0x89, &[0; 126], MASK), 1002),
        ("continuation first", masked(0x80, b"hi", MASK), 1002),
        (
            "text in text",
            [masked(0x01, b"a", MASK), masked(0x81, b"b", MASK)].concat(),
            1002,
        ),
        ("not utf-8", masked(0x81, &[0xFF], MASK), 1007),
        ("surrogate", masked(0x81, &[0xED, 0xA0, 0x80], MASK), 1007),
        ("length in the long form", long_form, 1002),
        (
            "negative length",
            vec![0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
            1002,
        ),
        ("too large", vec![0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], 1009),
        ("half a close code", masked(0x88, &[3], MASK), 1002),
        (
            "close code 1005",
            masked(0x88, &1005_u16.to_be_bytes(), MASK),
            1002,
        ),
        (
            "close code 999",
            masked(0x88, &999_u16.to_be_bytes(), MASK),
            1002,
        ),
        (
            "close reason not utf-8",
            masked(0x88, &[3, 0xE8, 0xFF], MASK),
            1007,
        ),
    ];
    for (what, bytes, code) in table {
        assert_eq!(read(&bytes).map_err(Violation::code), Err(code), "{what}");
    }
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let bytes = [
        masked(0x01, "gr\u{fc}".as_bytes(), MASK),
        masked(0x89, b"p", MASK),
        masked(0x00, b"", MASK),
        masked(0x80, "\u{df}e".as_bytes(), [0; 4]),
        masked(0x8A, b"", MASK),
        masked(0x88, &4000_u16.to_be_bytes(), MASK),
    ]
    .concat();
    let expected = vec![
        Incoming::Ping(b"p".to_vec()),
        text("gr\u{fc}\u{df}e"),
        Incoming::Pong,
        Incoming::Close(Some(4000)),
    ];
    assert_eq!(read(&bytes), Ok(expected));
}

/// threat:T18: a message has at most 1024 fragments and 64 KiB, however it is cut.
#[test]
fn fragments_are_bounded_in_number_and_in_all() {
    let mut reader = Reader::new(64 * 1024);
    reader.push(&masked(0x01, b"", MASK));
    for _ in 1..1024 {
        reader.push(&masked(0x00, b"", MASK));
        assert_eq!(reader.next(), Ok(None));
    }
    reader.push(&masked(0x00, b"", MASK));
    assert_eq!(reader.next(), Err(Violation::TooLarge));

    let mut reader = Reader::new(64 * 1024);
    reader.push(&masked(0x01, &vec![b'a'; 40_000], MASK));
    assert_eq!(reader.next(), Ok(None));
    reader.push(&masked(0x80, &vec![b'a'; 30_000], MASK)[..8]);
    assert_eq!(
        reader.next(),
        Err(Violation::TooLarge),
        "refused by its header alone"
    );
}

#[test]
fn an_idle_reader_holds_no_memory() {
    let mut reader = Reader::new(64 * 1024);
    let frame = masked(0x81, &vec![b'a'; 60_000], MASK);
    reader.push(&frame[..50_000]);
    assert_eq!(reader.next(), Ok(None));
    assert!(reader.held() <= 2 * 64 * 1024);
    reader.push(&frame[50_000..]);
    assert!(matches!(reader.next(), Ok(Some(Incoming::Text(_)))));
    assert_eq!(reader.held(), 0);
}

#[test]
fn a_servers_frame_has_the_shortest_header() {
    for (len, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        assert_eq!(Frame::text(&vec![b'a'; len]).wire_len(), len + header);
    }
}

/// Messages, each as text and the places where it is cut into fragments.
fn messages() -> impl Strategy<Value = Vec<(String, Vec<usize>)>> {
    let message = ("\\PC{0,200}", prop::collection::vec(0_usize..400, 0..4));
    prop::collection::vec(message, 1..6)
}

fn encode(messages: &[(String, Vec<usize>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, (message, cuts)) in messages.iter().enumerate() {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (message.len() + 1)).collect();
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([message.len()]);
        let mut from = 0;
        let last = cuts.len();
        for (piece, to) in ends.enumerate() {
            let first = u8::from(piece == 0) | if piece == last { FIN } else { 0 };
            bytes.extend(masked(
                first,
                &message.as_bytes()[from..to],
                [u8::try_from(n).unwrap(), 7, 99, 255],
            ));
            from = to;
        }
    }
    bytes
}

proptest! {
    /// threat:T18: what is read does not depend on how the network cuts it, to single bytes.
    #[test]
    fn every_cut_gives_the_same_messages(messages in messages(), size in 1_usize..40) {
        let bytes = encode(&messages);
        let expected: Vec<_> = messages.iter().map(|(message, _)| text(message)).collect();
        for size in [1, size, bytes.len()] {
            let mut reader = Reader::new(64 * 1024);
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece);
                found.extend(read_all(&mut reader).unwrap());
            }
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(reader.held(), 0);
        }
        for cut in 0..=bytes.len() {
            let mut reader = Reader::new(64 * 1024);
            reader.push(&bytes[..cut]);
            let mut found = read_all(&mut reader).unwrap();
            reader.push(&bytes[cut..]);
            found.extend(read_all(&mut reader).unwrap());
            prop_assert_eq!(&found, &expected);
        }
    }

    /// threat:T18: no input makes the reader panic or hold more than it may.
    #[test]
    fn mutated_bytes_never_panic(
        messages in messages(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..64),
        size in 1_usize..100,
    ) {
        let mut bytes = encode(&messages);
        bytes.extend(noise);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let mut reader = Reader::new(1024);
        for piece in bytes.chunks(size) {
            reader.push(piece);
            if read_all(&mut reader).is_err() {
                break;
            }
            prop_assert!(reader.held() <= 2 * (1024 + 14 + 100) + 2048);
        }
    }
}
