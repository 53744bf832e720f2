//! How well entities are found: precision and recall on sentences in German, Spanish and English.
//!
//! The sentences are written here, the values made from a seed with right checksums, so that nobody's data lies in this
//! repository. Decoys look like an entity and are none. `CORPUS=FILE` writes the corpus out, for other programs to be
//! held against it (`benches/guards/presidio.py`).

use std::collections::BTreeMap;

use guards::{Guards, Lens, Report, Scanner};
use serde_json::json;
use spec::guards::{Direction, ENTITIES};

/// Of precision and recall, for each entity.
const FLOOR: f64 = 0.99;

/// One sentence: where its values stand is known.
struct Sentence {
    before: String,
    value: String,
    after: String,
    /// None of a decoy.
    entity: Option<&'static str>,
}

/// A small generator: the same corpus everywhere. Marsaglia's xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn signs(&mut self, alphabet: &str, length: usize) -> String {
        let signs: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| signs[self.below(signs.len() as u64) as usize]).collect()
    }

    fn digits(&mut self, length: usize) -> String {
        self.signs("0123456789", length)
    }
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TOKEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn luhn(mut digits: String) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0') * if at % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    digits += &((10 - sum % 10) % 10).to_string();
    digits
}

fn rest_of_97(text: &str) -> u64 {
    text.chars().fold(0, |rest, sign| match sign.to_digit(36) {
        Some(value @ 10..) => (rest * 100 + u64::from(value)) % 97,
        value => (rest * 10 + u64::from(value.unwrap_or_default())) % 97,
    })
}

fn grouped(text: &str, size: usize, separator: &str) -> String {
    text.as_bytes()
        .chunks(size)
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect::<Vec<_>>()
        .join(separator)
}

fn value(entity: &str, dice: &mut Dice) -> String {
    match entity {
        "EMAIL_ADDRESS" => {
            let name = dice.of(&[
                "anna.schmidt",
                "j.garcía",
                "müller_k",
                "bob+list",
                "info",
                "maría-josé",
                "t.o'neil".split('\'').next().unwrap_or("t"),
            ]);
            let host =
                dice.of(&["example.de", "klinik-nord.example.com", "correo.es", "mail.example.co.uk", "praxis.berlin"]);
            format!("{name}{}@{host}", dice.below(90))
        }
        "PHONE_NUMBER" => phone(dice),
        "CREDIT_CARD" => {
            let (head, length) =
                [("4", 15), ("51", 15), ("2221", 15), ("37", 14), ("6011", 15)][dice.below(5) as usize];
            let rest = dice.digits(length - head.len());
            let card = luhn(format!("{head}{rest}"));
            let separator = dice.of(&["", " ", "-"]);
            grouped(&card, 4, separator)
        }
        "IBAN_CODE" => {
            let (country, bank) = match dice.below(3) {
                0 => ("DE", dice.digits(18)),
                1 => ("ES", dice.digits(20)),
                _ => ("GB", dice.signs(LETTERS, 4) + &dice.digits(14)),
            };
            let check = 98 - rest_of_97(&format!("{bank}{country}00"));
            let iban = format!("{country}{check:02}{bank}");
            if dice.below(2) == 0 { iban } else { grouped(&iban, 4, " ") }
        }
        "US_SSN" => format!("{:03}-{:02}-{:04}", 1 + dice.below(600), 1 + dice.below(99), 1 + dice.below(9999)),
        "IP_ADDRESS" => match dice.below(3) {
            0 => format!("2001:db8:{:x}::{:x}", 1 + dice.below(0xffff), 0x10 + dice.below(0xff)),
            _ => format!("{}.{}.{}.{}", 1 + dice.below(223), dice.below(256), dice.below(256), dice.below(256)),
        },
        "URL_CREDENTIALS" => format!("{}:{}", dice.of(&["admin", "bob", "svc-report"]), dice.signs(TOKEN, 12)),
        "DATE_OF_BIRTH" => date(dice),
        "MEDICAL_RECORD" => format!("{}{}", dice.of(&["", "KH-", "MR"]), dice.digits(8)),
        "INSURANCE_NUMBER" => insured(dice),
        "API_KEY" => match dice.below(4) {
            0 => format!("sk-proj-{}", dice.signs(TOKEN, 39) + "7"),
            1 => format!("AKIA{}", dice.signs(LETTERS, 16)),
            2 => format!("ghp_{}", dice.signs(TOKEN, 35) + "4"),
            _ => format!("glpat-{}", dice.signs(TOKEN, 19) + "1"),
        },
        "JWT" => format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{}.{}", dice.signs(TOKEN, 80), dice.signs(TOKEN, 43)),
        "PRIVATE_KEY" => {
            let body = grouped(&dice.signs(TOKEN, 640), 64, "\n");
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")
        }
        "ES_NIF" => spanish("", 10_000_000 + dice.below(80_000_000)),
        "ES_NIE" => {
            let head = dice.below(3);
            let number = dice.below(10_000_000);
            let id = spanish("", head * 10_000_000 + number);
            format!("{}{number:07}{}", ["X", "Y", "Z"][head as usize], &id[id.len() - 1..])
        }
        _ => unreachable!("{entity}"),
    }
}

fn phone(dice: &mut Dice) -> String {
    match dice.below(7) {
        0 => format!("+49 {} {}", dice.of(&["30", "89", "171", "221"]), dice.digits(7)),
        1 => format!("+34 6{} {} {}", dice.digits(2), dice.digits(3), dice.digits(3)),
        2 => format!("(415) 555-{}", dice.digits(4)),
        3 => format!("212-555-{}", dice.digits(4)),
        4 => format!("030 {} {}", dice.digits(3), dice.digits(4)),
        5 => format!("6{} {} {}", dice.digits(2), dice.digits(3), dice.digits(3)),
        _ => format!("0049 {} {}", dice.of(&["40", "69", "160"]), dice.digits(7)),
    }
}

fn date(dice: &mut Dice) -> String {
    let (day, month, year) = (1 + dice.below(28), 1 + dice.below(12), 1930 + dice.below(80));
    match dice.below(6) {
        0 => format!("{day:02}.{month:02}.{year}"),
        1 => format!("{month}/{day}/{year}"),
        2 => format!("{year}-{month:02}-{day:02}"),
        3 => format!("{day}. {} {year}", dice.of(&["März", "Oktober", "Juli"])),
        4 => format!("{day} de {} de {year}", dice.of(&["mayo", "enero", "agosto"])),
        _ => format!("{} {day}, {year}", dice.of(&["March", "October", "June"])),
    }
}

fn insured(dice: &mut Dice) -> String {
    if dice.below(2) == 0 {
        return format!("{}{}", dice.signs(LETTERS, 3), dice.digits(9));
    }
    let (province, number) = (1 + dice.below(50), 10_000_000 + dice.below(89_000_000));
    format!("{province:02}/{number}/{:02}", (province * 100_000_000 + number) % 97)
}

fn spanish(head: &str, number: u64) -> String {
    let letter = b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize] as char;
    format!("{head}{number:08}{letter}")
}

/// What stands around a value, `#`, in the three languages.
fn frames(entity: &str) -> &'static [&'static str] {
    match entity {
        "EMAIL_ADDRESS" => {
            &["Bitte an # schreiben.", "Escríbeme a #, gracias.", "You can reach her at # today.", "<#>"]
        }
        "PHONE_NUMBER" => &["Ruf mich unter # an.", "Mi teléfono es #.", "Call me at # after 5 pm.", "Tel.: #"],
        "CREDIT_CARD" => &["Die Kreditkarte lautet #.", "Mi tarjeta es #, caduca pronto.", "Charge card # please."],
        "IBAN_CODE" => &["Überweisung an # bis Freitag.", "Mi cuenta es #.", "Send it to # by Monday."],
        "US_SSN" => &["Die US-Nummer ist #.", "Su número americano es #.", "My SSN is #.", "SSN: #, issued early"],
        "IP_ADDRESS" => {
            &["Der Server # antwortet nicht.", "El servidor # no responde.", "Traffic came from #, port 443."]
        }
        "URL_CREDENTIALS" => &[
            "Siehe https://#@db.example.com/x",
            "La base está en postgres://#@host/db",
            "clone ftp://#@files.example.org",
        ],
        "DATE_OF_BIRTH" => &[
            "Patientin, geboren am #, klagt über Husten.",
            "El paciente nació el # en Lugo.",
            "Patient born on #, male.",
            "DOB: #",
            "Geburtsdatum: #",
        ],
        "MEDICAL_RECORD" => &[
            "Patientennummer: #.",
            "Historia clínica # del paciente.",
            "MRN # was updated.",
            "See medical record no. #.",
        ],
        "INSURANCE_NUMBER" => {
            &["Versichertennummer # der Kasse.", "Su póliza es #.", "Her insurance number is #.", "Member ID: #"]
        }
        "API_KEY" => &["Der Schlüssel ist #.", "La clave es # y caduca.", "export KEY=#"],
        "JWT" => &["Das Token: #", "El token es # y nada más", "Authorization: Bearer #"],
        "PRIVATE_KEY" => &["Der Schlüssel:\n#\nEnde", "La clave:\n#", "Use this:\n#\nThanks."],
        "ES_NIF" => &["Seine spanische Nummer ist #.", "Mi DNI es #.", "Her Spanish ID is #, valid."],
        "ES_NIE" => &["Die NIE lautet #.", "Mi NIE es #.", "NIE: # (expired)"],
        _ => &[],
    }
}

const DECOYS: &[&str] = &[
    "Bestellung 4111111111111112 wurde versandt.",
    "Pedido DE89370400440532013001 enviado.",
    "The meeting is on 12.03.2024 at 10:30.",
    "Am 3. März 2024 beginnt der Kurs.",
    "El 3 de mayo de 2024 empieza el curso.",
    "Version 10.4.2 replaces 10.4.1.1.7.",
    "Pi is 3.14159265358979.",
    "It costs 1,234,567.89 EUR, or 1.234.567,89 in German.",
    "Ticket 2024-000123-77 is open.",
    "La factura 12345678A no existe.",
    "Room 301, floor 12, building 7.",
    "std::net::IpAddr and foo::bar::Baz compile.",
    "The hash is 5f4dcc3b5aa765d61d8327deb882cf99.",
    "Commit 9fceb02d0ae598e95dc970b74767f19372d61af8 broke it.",
    "UUID 123e4567-e89b-12d3-a456-426614174000 is taken.",
    "Follow @openai on the network, or mail us.",
    "ISBN 978-3-16-148410-0 ist vergriffen.",
    "https://example.com:8080/path?x=1@2",
    "Die Zahl 123456789012 ist durch 3 teilbar.",
    "Temperatures of 36.6, 37.2 and 38.9 were measured.",
    "The year 1984 and the year 2001.",
    "Zum Beispiel: 20 mg, 3-mal täglich, 14 Tage.",
    "skip-the-line tickets are sk-ipped.",
    "A key event: the press release of 2024-05-01.",
    "El artículo 27/2003 y la ley 39/2006.",
    "SELECT 100 * 200 FROM t WHERE a = 555",
];

fn corpus() -> Vec<Sentence> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut sentences = Vec::new();
    for entity in ENTITIES {
        for round in 0..120 {
            let frames = frames(entity);
            let (before, after) = frames[round % frames.len()].split_once('#').expect("a place for the value");
            let value = value(entity, &mut dice);
            sentences.push(Sentence {
                before: before.to_owned(),
                value,
                after: after.to_owned(),
                entity: Some(entity),
            });
        }
    }
    let decoys = DECOYS.iter().map(|text| Sentence {
        before: (*text).to_owned(),
        value: String::new(),
        after: String::new(),
        entity: None,
    });
    sentences.extend(decoys);
    sentences
}

type Scores = BTreeMap<&'static str, Score>;

#[derive(Default)]
struct Score {
    found: u32,
    missed: u32,
    wrong: u32,
}

/// A value counts as found if its own entity, and nothing else, took exactly its place.
fn judge(lens: &Lens, sentence: &Sentence, scores: &mut Scores, slips: &mut Vec<String>) {
    let mut report = Report::default();
    let text = format!("{}{}{}", sentence.before, sentence.value, sentence.after);
    Scanner::scan(lens, &text, &mut report, None);
    let expected = match sentence.entity {
        Some(entity) => format!("{}<{entity}>{}", sentence.before, sentence.after),
        None => text.clone(),
    };
    if let Some(entity) = sentence.entity {
        let score = scores.entry(entity).or_default();
        if report.text == expected { score.found += 1 } else { score.missed += 1 }
    }
    if report.text != expected {
        slips.push(format!("{text:?} -> {:?}", report.text));
        for finding in &report.findings {
            let name = lens.treatments[finding.treatment].name.as_str();
            let name = ENTITIES.iter().copied().find(|entity| *entity == name).expect("an entity");
            if Some(name) != sentence.entity {
                scores.entry(name).or_default().wrong += 1;
            }
        }
    }
}

/// For other programs: one JSON object a line, places in characters.
fn write_out(sentences: &[Sentence], path: &std::ffi::OsStr) {
    let lines = sentences.iter().map(|sentence| {
        let start = sentence.before.chars().count();
        let text = format!("{}{}{}", sentence.before, sentence.value, sentence.after);
        let end = start + sentence.value.chars().count();
        json!({"text": text, "entity": sentence.entity, "start": start, "end": end}).to_string() + "\n"
    });
    std::fs::write(path, lines.collect::<String>()).expect("a place to write to");
}

#[test]
fn precision_and_recall_are_above_their_floors() {
    let config = serde_json::from_value(json!({"redact": {"placeholders": "one-way"}})).expect("a configuration");
    let guards = Guards::compile(&config).expect("guards");
    let sentences = corpus();
    if let Some(path) = std::env::var_os("CORPUS") {
        write_out(&sentences, &path);
    }
    let (mut scores, mut slips, mut table) = (Scores::new(), Vec::new(), String::new());
    for sentence in &sentences {
        judge(guards.lens(Direction::Answer), sentence, &mut scores, &mut slips);
    }
    let mut is_good = true;
    for entity in ENTITIES {
        let score = &scores[entity];
        let recall = f64::from(score.found) / f64::from(score.found + score.missed);
        let precision = f64::from(score.found) / f64::from(score.found + score.wrong).max(1.0);
        is_good &= recall >= FLOOR && precision >= FLOOR;
        table += &format!("{entity:<18} recall {recall:.3} precision {precision:.3}\n");
    }
    assert!(is_good, "{table}{}", slips.join("\n"));
}
