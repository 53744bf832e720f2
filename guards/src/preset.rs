//! Rules that come with dsgate: patterns of bounded length, without regard to case.

use spec::guards::GuardPreset;

pub const fn patterns(preset: GuardPreset) -> &'static [&'static str] {
    match preset {
        GuardPreset::PromptInjection => INJECTION,
        GuardPreset::Sql => SQL,
        GuardPreset::Secrets => SECRETS,
    }
}

const INJECTION: &[&str] = &[
    r"(?i)(?:ignore|disregard|forget|override|bypass)\s{1,3}(?:(?:all|any|every|the|your|my|these|those|of)\s{1,3}){0,3}(?:previous|prior|above|earlier|preceding|foregoing|original|initial|system)\s{1,3}(?:instructions?|prompts?|rules?|directions?|messages?|guidelines?|context)",
    r"(?i)(?:reveal|show|print|repeat|output|display|leak)\s{1,3}(?:me\s{1,3})?(?:your|the)\s{1,3}(?:(?:hidden|secret|initial|original|full)\s{1,3})?(?:system\s{1,3}(?:prompt|message|instructions)|initial\s{1,3}instructions)",
    r"(?i)you\s{1,3}are\s{1,3}(?:now|no\s{1,3}longer)\s{1,3}(?:in\s{1,3})?(?:dan|developer\s{1,3}mode|jailbroken|unrestricted|unfiltered|bound\s{1,3}by)",
    r"(?i)(?:enable|activate|enter)\s{1,3}(?:dan|developer|jailbreak|god)\s{1,3}mode",
    r"(?i)do\s{1,3}anything\s{1,3}now",
    r"(?i)(?:ignorier|vergiss|missachte)e?\s{1,3}(?:(?:alle|alles|die|deine|meine)\s{1,3}){0,2}(?:vorherigen?|bisherigen?|obigen?|fr(?u:ü)heren?)\s{1,3}(?:anweisungen?|befehle?|regeln?|instruktionen?)",
    r"(?i)(?:ignora|olvida|omite)\s{1,3}(?:(?:todas?|las?|los?|tus|mis)\s{1,3}){0,3}(?:instrucciones|(?u:ó)rdenes|reglas|indicaciones)\s{1,3}(?:anteriores|previas|de\s{1,3}arriba)",
    r"<\|(?:im_start|im_end|system|endoftext|eot_id|start_header_id|begin_of_text)\|>",
];

const SQL: &[&str] = &[
    r"(?i)(?:drop|truncate)\s{1,3}(?:table|database|schema)\s{1,3}(?:if\s{1,3}exists\s{1,3})?[a-z_0-9.`]{1,40}",
    r"(?i)union\s{1,3}(?:all\s{1,3})?select\s{1,3}[a-z0-9_*'(,]",
    r"(?i)or\s{1,3}['(]?1[')]?\s{0,3}=\s{0,3}['(]?1",
    r"(?i)delete\s{1,3}from\s{1,3}[a-z_0-9.`]{1,40}\s{0,3}(?:;|where\s{1,3}1\s{0,2}=\s{0,2}1)",
    r"(?i)(?:xp_cmdshell|information_schema\.(?:tables|columns)|pg_sleep\s{0,2}\(|load_file\s{0,2}\(|into\s{1,3}outfile)",
    r"(?i)grant\s{1,3}all\s{1,3}(?:privileges\s{1,3})?on",
];

const SECRETS: &[&str] = &[
    r#"(?i)(?:password|passwd|pwd|passwort|kennwort|contrase(?u:ñ)a)["']?\s{0,2}[:=]\s{0,2}["']?[^\s"'<>\\]{6,40}"#,
    r"(?i)(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp)://[^\s:/@]{0,32}:[^\s/@]{1,48}@",
    r"(?i)AccountKey=[A-Za-z0-9+/=]{20}",
];
