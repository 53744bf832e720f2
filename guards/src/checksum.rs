//! The sums that numbers carry, by which one that is real is told from one that only looks so.

/// The digits of a text, whatever stands between them.
pub fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'))
}

/// Luhn's, of payment cards. ISO/IEC 7812-1, annex B.
pub fn is_luhn(text: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 =
        digits(text).rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}

/// Lengths of IBANs, from the SWIFT registry.
const IBAN_LENGTHS: &[(usize, &str)] = &[
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FO GL NL SD FK"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH CR HR LI LV"),
    (22, "BG BH DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "LY PT ST"),
    (26, "IS TR"),
    (27, "BI DJ FR GR IT MC MR SM"),
    (28, "AL AZ BY CY DO GT HU LB NI PL"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
];

/// ISO 13616: the country's length, and 1 modulo 97 with the first four signs at the end.
pub fn is_iban(text: &str) -> bool {
    let Some(country) = text.get(..2) else { return false };
    let signs = || text.bytes().filter(u8::is_ascii_alphanumeric);
    let length = signs().count();
    let is_of = |(given, countries): &(usize, &str)| *given == length && countries.split(' ').any(|it| it == country);
    IBAN_LENGTHS.iter().any(is_of) && remainder_of_97(signs().skip(4).chain(signs().take(4))) == 1
}

/// Letters count as 10 to 35.
fn remainder_of_97(signs: impl Iterator<Item = u8>) -> u32 {
    signs.fold(0, |sum, sign| match sign {
        b'0'..=b'9' => (sum * 10 + u32::from(sign - b'0')) % 97,
        _ => (sum * 100 + u32::from(sign.to_ascii_uppercase() - b'A') + 10) % 97,
    })
}

/// The letter of a Spanish NIF; of an NIE with X, Y, Z as 0, 1, 2. Real Decreto 1553/2005.
pub fn is_spanish_id(text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let signs: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect();
    let Some((letter, number)) = signs.split_last() else { return false };
    let value = number.iter().fold(0_u32, |sum, sign| {
        sum * 10 + u32::from(if sign.is_ascii_digit() { sign - b'0' } else { sign.wrapping_sub(b'X') % 3 })
    });
    LETTERS[value as usize % LETTERS.len()] == *letter
}

/// A German health insurance number: a letter as two digits, then weights 1 and 2 in turns. § 290 SGB V, Anlage 1.
pub fn is_german_insured(text: &str) -> bool {
    let Some(letter) = text.bytes().next().filter(u8::is_ascii_uppercase) else { return false };
    let all: Vec<u32> = digits(text).collect();
    let Some((check, rest)) = all.split_last() else { return false };
    let number = u32::from(letter - b'A') + 1;
    let weighted = [number / 10, number % 10].into_iter().chain(rest.iter().copied()).enumerate().map(|(at, digit)| {
        let product = digit * if at % 2 == 1 { 2 } else { 1 };
        product / 10 + product % 10
    });
    weighted.sum::<u32>() % 10 == *check
}

/// A Spanish social security number: the last two digits are the rest by 97. Without one below ten million the number
/// after the province has seven digits.
pub fn is_spanish_insured(text: &str) -> bool {
    let all: Vec<u64> = digits(text).map(u64::from).collect();
    if all.len() != 12 {
        return false;
    }
    let value = |digits: &[u64]| digits.iter().fold(0, |sum, digit| sum * 10 + digit);
    let (province, number, check) = (value(&all[..2]), value(&all[2..10]), value(&all[10..]));
    let whole = if number < 10_000_000 { province * 10_000_000 + number } else { province * 100_000_000 + number };
    whole % 97 == check
}

/// A number of the USA's social security that can have been given out.
pub fn is_social_security(text: &str) -> bool {
    let all: Vec<u32> = digits(text).collect();
    let value = |digits: &[u32]| digits.iter().fold(0, |sum, digit| sum * 10 + digit);
    all.len() == 9 && !matches!(value(&all[..3]), 0 | 666 | 900..) && value(&all[3..5]) > 0 && value(&all[5..]) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_pass_and_one_digit_off_fails() {
        type Sum = fn(&str) -> bool;
        let sums: [(Sum, &str, &str); 9] = [
            (is_luhn, "4111 1111 1111 1111", "4111 1111 1111 1112"),
            (is_luhn, "378282246310005", "378282246310006"),
            (is_iban, "DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01"),
            (is_iban, "ES9121000418450200051332", "ES9121000418450200051331"),
            (is_iban, "GB29NWBK60161331926819", "GB29NWBK6016133192681"),
            (is_spanish_id, "12345678Z", "12345678A"),
            (is_spanish_id, "X1234567L", "Y1234567L"),
            (is_german_insured, "A123456780", "A123456781"),
            (is_social_security, "536-90-4399", "666-90-4399"),
        ];
        for (is_right, good, bad) in sums {
            assert!(is_right(good), "{good}");
            assert!(!is_right(bad), "{bad}");
        }
        let check = 2_812_345_678_u64 % 97;
        assert!(is_spanish_insured(&format!("28 12345678 {check:02}")));
        assert!(!is_spanish_insured(&format!("28 12345678 {:02}", (check + 1) % 97)));
    }
}
