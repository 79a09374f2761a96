//! m of n shares make the key, fewer do not, and whoever types one wrong is told where.

use holdfast_seal::{Gathered, RecoveryError, RecoveryKey, SetId, Share, ShareTextError, Split};
use proptest::prelude::*;

use crate::fixture::Seeded;

#[test]
fn any_threshold_of_shares_makes_the_key_and_one_fewer_is_told_so() {
    for (count, threshold) in [(1, 1), (2, 2), (3, 2), (5, 3), (6, 6), (16, 2)] {
        let (key, shares) = split(count, threshold);
        assert_eq!(shares.len(), usize::from(count));
        for chosen in 0..1_u32 << count {
            let chosen: Vec<_> = (0..usize::from(count))
                .filter(|index| chosen >> index & 1 == 1)
                .collect();
            let have = u8::try_from(chosen.len()).unwrap();
            if have + 1 < threshold || (count == 16 && have > threshold) {
                continue;
            }
            let chosen = chosen.iter().map(|index| again(&shares[*index]));
            match RecoveryKey::combine(chosen) {
                Ok(combined) => {
                    assert!(have >= threshold);
                    assert_eq!(combined.public(), key.public());
                }
                Err(RecoveryError::TooFew { have: told, .. }) => {
                    assert!(have < threshold && told == have);
                }
                Err(RecoveryError::NoShares) => assert_eq!(have, 0),
                Err(other) => panic!("{count} {threshold}: {other}"),
            }
        }
    }
}

#[test]
fn gathering_says_how_many_are_missing_and_refuses_what_does_not_belong() {
    let (key, shares) = split(5, 3);
    let (_, others) = RecoveryKey::split_new(&mut Seeded::new(2), Split::new(5, 3).unwrap());
    let mut gathered = Gathered::default();
    assert_eq!(gathered.add(again(&shares[4])).unwrap(), 2);
    let (index, set) = (5, key.set());
    assert_eq!(
        gathered.add(again(&shares[4])).unwrap_err(),
        RecoveryError::Duplicate { index, set }
    );
    let (found, expected) = (others[0].set(), set);
    assert_eq!(
        gathered.add(again(&others[0])).unwrap_err(),
        RecoveryError::OtherSet {
            index: 1,
            found,
            expected
        }
    );
    // What was refused does not count.
    assert_eq!(gathered.add(again(&shares[0])).unwrap(), 1);
    assert_eq!(gathered.add(again(&shares[1])).unwrap(), 0);
    assert_eq!(gathered.add(again(&shares[2])).unwrap(), 0);
    assert_eq!(gathered.combine().unwrap().public(), key.public());
}

#[test]
fn a_false_share_that_is_well_formed_makes_no_key() {
    let (key, shares) = split(3, 2);
    let (_, others) = RecoveryKey::split_new(&mut Seeded::new(3), Split::new(3, 2).unwrap());
    // Another set's value under this set's name, with a checksum that is right.
    let forged = relabel(&others[1], key.set());
    let refused = RecoveryKey::combine([again(&shares[0]), forged]).unwrap_err();
    assert_eq!(refused, RecoveryError::WrongKey { set: key.set() });
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (shares, threshold) in [(0, 0), (1, 0), (2, 1), (16, 1), (2, 3), (17, 2), (1, 2)] {
        let refused = Split::new(shares, threshold).unwrap_err();
        assert_eq!(refused, RecoveryError::Split { shares, threshold });
    }
    Split::new(1, 1).unwrap();
    Split::new(16, 16).unwrap();
}

#[test]
fn fewer_shares_than_the_threshold_tell_nothing_that_fits() {
    // Two of three shares, told to be two of two: a key comes out, and it is not the one.
    let (key, shares) = split(5, 3);
    let lowered = shares[..2].iter().map(|share| {
        let mut content = content(&text(share));
        content[5] = (content[5] & 0xf0) | 1;
        Share::parse(&written(&content)).unwrap()
    });
    let refused = RecoveryKey::combine(lowered).unwrap_err();
    assert_eq!(refused, RecoveryError::WrongKey { set: key.set() });
}

proptest! {
    #[test]
    fn a_share_is_read_back_however_it_is_typed(seed: u64, style in 0..6_u8) {
        let (key, shares) = RecoveryKey::split_new(&mut Seeded::new(seed), Split::new(5, 2).unwrap());
        let typed = shares[1..3].iter().map(|share| {
            let text = text(share);
            let typed = match style {
                0 => text,
                1 => text.to_lowercase(),
                2 => text.replace('-', ""),
                3 => text.replace('-', " \n"),
                4 => text.replace('0', "O").replace('1', "l").replace('-', "\u{2013}"),
                _ => format!("  {}  ", text.replace('0', "o").replace('1', "I").replace('-', " - ")),
            };
            Share::parse(&typed).unwrap()
        });
        let combined = RecoveryKey::combine(typed).unwrap();
        prop_assert_eq!(combined.public(), key.public());
    }

    #[test]
    fn a_typo_is_found_in_its_group(seed: u64, place in 0..85_usize, wrong in 1..32_usize) {
        let (_, shares) = RecoveryKey::split_new(&mut Seeded::new(seed), Split::new(3, 2).unwrap());
        let mut letters = letters(&text(&shares[2]));
        let at = ALPHABET.iter().position(|letter| *letter == letters[place]).unwrap();
        letters[place] = ALPHABET[(at + wrong) % 32];
        let typed = format!("HFS1{}", String::from_utf8(letters).unwrap());
        let group = place / 5 + 1;
        prop_assert_eq!(Share::parse(&typed).unwrap_err(), ShareTextError::Typo { group });
    }

    #[test]
    fn letters_in_the_wrong_order_are_found_in_their_group(seed: u64, place in 0..84_usize) {
        let (_, shares) = RecoveryKey::split_new(&mut Seeded::new(seed), Split::new(3, 2).unwrap());
        let mut letters = letters(&text(&shares[0]));
        prop_assume!(letters[place] != letters[place + 1]);
        letters.swap(place, place + 1);
        let typed = format!("HFS1{}", String::from_utf8(letters).unwrap());
        let refused = Share::parse(&typed).unwrap_err();
        let group = place / 5 + 1;
        prop_assert_eq!(refused, ShareTextError::Typo { group });
    }

    #[test]
    fn whatever_is_typed_is_answered(text in "(HFS1)?[ -~\u{2013}]{0,120}") {
        let _ = Share::parse(&text);
    }
}

#[test]
fn groups_in_the_wrong_order_and_missing_letters_are_named() {
    let (_, shares) = split(3, 2);
    let text = text(&shares[0]);
    let mut groups: Vec<_> = text.split('-').collect();
    groups.swap(3, 4);
    assert_eq!(
        Share::parse(&groups.join("-")).unwrap_err(),
        ShareTextError::Typo { group: 3 }
    );
    let mut groups: Vec<_> = text.split('-').collect();
    groups[7] = &groups[7][..4];
    let (found, group) = (84, Some(7));
    let refused = Share::parse(&groups.join("-")).unwrap_err();
    assert_eq!(refused, ShareTextError::Length { found, group });
    assert!(refused.to_string().contains("group 7"), "{refused}");
    let refused = Share::parse(&groups.concat()).unwrap_err();
    assert_eq!(refused, ShareTextError::Length { found, group: None });
    let unused = text.replacen(&text[11..12], "U", 1);
    assert!(matches!(
        Share::parse(&unused).unwrap_err(),
        ShareTextError::Letter { .. }
    ));
}

#[test]
fn something_else_is_not_taken_for_a_share() {
    let (_, shares) = split(3, 2);
    let text = text(&shares[0]);
    for other in ["", "HFS", "hello", &text[5..]] {
        let refused = Share::parse(other).unwrap_err();
        assert_eq!(refused, ShareTextError::NotAShare, "{other}");
    }
    let newer = text.replacen("HFS1", "HFS2", 1);
    let refused = Share::parse(&newer).unwrap_err();
    assert_eq!(refused, ShareTextError::NewerFormat);
}

#[test]
fn numbers_that_no_share_has_are_refused_though_the_checksum_is_right() {
    let (_, shares) = split(3, 2);
    let right = content(&text(&shares[0]));
    for (place, byte) in [(5, 0x31), (5, 0x03), (6, 0x00)] {
        let mut content = right.clone();
        content[place] = byte;
        let refused = Share::parse(&written(&content)).unwrap_err();
        assert!(
            matches!(refused, ShareTextError::Numbers { .. }),
            "{refused}"
        );
    }
    let mut content = right;
    content[6] |= 1;
    let refused = Share::parse(&written(&content)).unwrap_err();
    assert_eq!(refused, ShareTextError::Checksum);
}

#[test]
fn a_set_is_named_after_its_key() {
    let (key, shares) = split(3, 2);
    assert_eq!(SetId::of(key.public()), shares[0].set());
    let name = key.set().to_string();
    assert_eq!(name.len(), 9);
    // So that people see which papers belong together.
    let text = text(&shares[2]);
    let groups: Vec<_> = text.split('-').collect();
    assert_eq!(name, format!("{}-{}", &groups[1][..4], &groups[2][..4]));
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn split(shares: u8, threshold: u8) -> (RecoveryKey, Vec<Share>) {
    RecoveryKey::split_new(&mut Seeded::new(1), Split::new(shares, threshold).unwrap())
}

fn text(share: &Share) -> String {
    share.to_text().expose_text().unwrap().to_owned()
}

fn again(share: &Share) -> Share {
    Share::parse(&text(share)).unwrap()
}

fn letters(text: &str) -> Vec<u8> {
    text["HFS1".len()..]
        .bytes()
        .filter(|letter| *letter != b'-')
        .collect()
}

/// The 39 bytes in a share, read by other code than the crate's: as `store/seal/FORMAT.md` says.
fn content(text: &str) -> Vec<u8> {
    let mut bits = String::new();
    for group in letters(text).chunks(5) {
        for letter in &group[..4] {
            let symbol = ALPHABET.iter().position(|known| known == letter).unwrap();
            bits.push_str(&format!("{symbol:05b}"));
        }
    }
    (0..39)
        .map(|byte| u8::from_str_radix(&bits[byte * 8..byte * 8 + 8], 2).unwrap())
        .collect()
}

/// A share's text for 39 bytes, with the right check letters and checksum.
fn written(content: &[u8]) -> String {
    let context = "holdfast-seal 2026-11 recovery share: checksum";
    let mut bits = String::new();
    for byte in content
        .iter()
        .chain(&blake3::derive_key(context, content)[..3])
    {
        bits.push_str(&format!("{byte:08b}"));
    }
    bits.push_str("0000");
    let mut text = "HFS1".to_owned();
    for number in 0..17_usize {
        let mut sum = number;
        let mut group = Vec::new();
        for place in 0..4 {
            let from = (number * 4 + place) * 5;
            group.push(usize::from_str_radix(&bits[from..from + 5], 2).unwrap());
        }
        for symbol in group.iter().rev() {
            sum = doubled(sum) ^ symbol;
        }
        group.push(doubled(sum));
        text.extend(group.iter().map(|symbol| char::from(ALPHABET[*symbol])));
    }
    text
}

fn doubled(symbol: usize) -> usize {
    if symbol & 16 == 0 {
        symbol << 1
    } else {
        (symbol << 1) ^ 0b10_0101
    }
}

fn relabel(share: &Share, set: SetId) -> Share {
    let mut content = content(&text(share));
    content[..5].copy_from_slice(set.as_bytes());
    Share::parse(&written(&content)).unwrap()
}
