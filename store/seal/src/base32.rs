//! Letters that people read off paper and type: Crockford's base 32, in groups that each end with a
//! check letter, so that a typo is found in its group.
//!
//! The check letter makes `x·d0 + x²·d1 + x³·d2 + x⁴·d3 + check = x⁵·number` in GF(32), where `number` is
//! the group's own, from 0. So one wrong letter, two neighbours in the wrong order, and two groups in
//! the wrong order are found always; anything else 31 times of 32 in each group.

/// Letters of data in a group.
pub(crate) const GROUP_DATA: usize = 4;
/// Letters in a group.
pub(crate) const GROUP: usize = GROUP_DATA + 1;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The letter for five bits.
pub(crate) fn letter(symbol: u8) -> u8 {
    ALPHABET[usize::from(symbol & 31)]
}

/// Five bits from a letter, in either case; `O` is read as 0, `I` and `L` as 1. There is no `U`.
pub(crate) fn symbol(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let position = ALPHABET
        .iter()
        .position(|known| char::from(*known) == letter)?;
    u8::try_from(position).ok()
}

/// The check symbol of a group.
pub(crate) fn check(number: usize, data: &[u8]) -> u8 {
    let number = u8::try_from(number % 32).expect("below 32");
    // Horner's rule, from the highest power down.
    let mut sum = number;
    for symbol in data.iter().rev() {
        sum = times_x(sum) ^ symbol;
    }
    times_x(sum)
}

/// In GF(32) modulo x⁵ + x² + 1.
fn times_x(symbol: u8) -> u8 {
    let doubled = symbol << 1;
    if doubled & 32 == 0 {
        doubled
    } else {
        doubled ^ 0b10_0101
    }
}

/// Bytes as symbols of five bits, most significant bit first, the last one filled up with zeros.
pub(crate) fn symbols(bytes: &[u8]) -> Vec<u8> {
    let mut symbols = Vec::with_capacity((bytes.len() * 8).div_ceil(5));
    let (mut pending, mut bits) = (0_u16, 0);
    for byte in bytes {
        pending = pending << 8 | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            symbols.push((pending >> bits & 31) as u8);
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        symbols.push((pending << (5 - bits) & 31) as u8);
    }
    symbols
}

/// The other direction of [`symbols`]. `None` if what fills up the last symbol is not zero.
pub(crate) fn bytes(symbols: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(symbols.len() * 5 / 8);
    let (mut pending, mut bits) = (0_u16, 0);
    for symbol in symbols {
        pending = pending << 5 | u16::from(symbol & 31);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
        }
        pending &= (1 << bits) - 1;
    }
    (pending == 0 && bits < 5).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_wrong_letter_and_any_two_neighbours_swapped_are_found() {
        for number in 0..17 {
            for seed in 0..32_u8 {
                let data = [
                    seed,
                    seed.wrapping_mul(7) & 31,
                    31 - seed,
                    (seed + number as u8) & 31,
                ];
                let mut group = [data[0], data[1], data[2], data[3], check(number, &data)];
                let holds = |group: &[u8; 5]| check(number, &group[..4]) == group[4];
                assert!(holds(&group));
                for place in 0..5 {
                    for wrong in 1..32 {
                        group[place] ^= wrong;
                        assert!(!holds(&group));
                        group[place] ^= wrong;
                    }
                }
                for place in 0..4 {
                    if group[place] != group[place + 1] {
                        group.swap(place, place + 1);
                        assert!(!holds(&group), "{group:?}");
                        group.swap(place, place + 1);
                    }
                }
                for other in (0..17).filter(|other| *other != number) {
                    assert_ne!(check(other, &data), group[4], "groups in the wrong order");
                }
            }
        }
    }

    #[test]
    fn bytes_come_back_and_stray_bits_do_not_pass() {
        for length in 0..60_u8 {
            let original: Vec<u8> = (0..length).map(|i| i.wrapping_mul(97) ^ 0xA5).collect();
            let mut coded = symbols(&original);
            assert_eq!(bytes(&coded).as_ref(), Some(&original));
            if !(original.len() * 8).is_multiple_of(5) {
                *coded.last_mut().unwrap() |= 1;
                assert_eq!(bytes(&coded), None);
            }
        }
    }
}
