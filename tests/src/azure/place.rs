//! Where something stands: a resource id, read. Ids are the same whatever their case.

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub subscription: String,
    pub group: Option<String>,
    /// `Microsoft.Network`; empty for the group itself.
    pub namespace: String,
    pub types: Vec<String>,
    /// As many as types for a thing; one less for all of a kind, or for what is to be done with the last thing.
    pub names: Vec<String>,
    /// What it is said of: everything before the last `/providers/`.
    pub scope: String,
}

/// An id in the form in which ids are compared.
pub(super) fn key(id: &str) -> String {
    id.trim_end_matches('/').to_ascii_lowercase()
}

/// Whether an id is another one or lies below it.
pub(super) fn is_within(id: &str, scope: &str) -> bool {
    let (id, scope) = (key(id), key(scope));
    id.strip_prefix(&scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The last part of an id.
pub(super) fn name_of(id: &str) -> &str {
    id.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

impl Place {
    /// None for a path outside a subscription.
    pub fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let is = |index: usize, word: &str| parts.get(index).is_some_and(|part| part.eq_ignore_ascii_case(word));
        let subscription = parts.get(1).filter(|_| is(0, "subscriptions"))?;
        let group = parts.get(3).filter(|_| is(2, "resourceGroups")).map(|name| (*name).to_owned());
        let split = parts.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
        let (before, after) = split.map_or((parts.as_slice(), &[][..]), |at| (&parts[..at], &parts[at + 1..]));
        let every_second =
            |offset: usize| after.iter().skip(offset).step_by(2).map(|part| (*part).to_owned()).collect();
        Some(Self {
            subscription: (*subscription).to_owned(),
            group,
            namespace: after.first().map(|part| (*part).to_owned()).unwrap_or_default(),
            types: every_second(1),
            names: every_second(2),
            scope: format!("/{}", before.join("/")),
        })
    }

    /// `microsoft.network/virtualnetworks`.
    pub fn kind(&self) -> String {
        format!("{}/{}", self.namespace, self.types.join("/")).to_ascii_lowercase()
    }

    pub fn is_thing(&self) -> bool {
        !self.types.is_empty() && self.types.len() == self.names.len()
    }

    pub fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// The id, its kind written as Azure writes it.
    pub fn id(&self, kind: &str) -> String {
        let mut parts = kind.split('/');
        let mut id = format!("{}/providers/{}", self.scope_written(), parts.next().unwrap_or_default());
        for (part, name) in parts.zip(&self.names) {
            id.push_str(&format!("/{part}/{name}"));
        }
        id
    }

    fn scope_written(&self) -> String {
        let group = self.group.as_ref().map(|group| format!("/resourceGroups/{group}")).unwrap_or_default();
        format!("/subscriptions/{}{group}", self.subscription)
    }

    pub fn group_id(&self) -> String {
        self.scope_written()
    }

    /// What a nested thing lies in.
    pub fn parent(&self) -> Option<Self> {
        let count = self.names.len().checked_sub(1).filter(|count| *count > 0)?;
        let (types, names) = (self.types[..count].to_vec(), self.names[..count].to_vec());
        Some(Self { types, names, ..self.clone() })
    }

    /// The thing that something is to be done with: `…/virtualMachines/NAME/start`.
    pub fn acted_on(&self) -> Option<(Self, String)> {
        let action = self.types.last()?.clone();
        let count = self.names.len();
        let is_action = count > 0 && self.types.len() == count + 1;
        is_action.then(|| (Self { types: self.types[..count].to_vec(), ..self.clone() }, action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBNET: &str = "/subscriptions/s/resourcegroups/G/providers/microsoft.network/virtualnetworks/v/subnets/a";

    #[test]
    fn ids_are_read_whatever_their_case() {
        let place = Place::of(SUBNET).expect("a place");
        assert_eq!((place.kind().as_str(), place.name()), ("microsoft.network/virtualnetworks/subnets", "a"));
        let written = place.id("Microsoft.Network/virtualNetworks/subnets");
        let expected = "/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/v/subnets/a";
        assert_eq!((written.as_str(), key(&written)), (expected, key(SUBNET)));
        assert_eq!(place.parent().map(|parent| parent.kind()).as_deref(), Some("microsoft.network/virtualnetworks"));
    }

    #[test]
    fn what_is_said_of_a_thing_has_it_as_scope() {
        let place = Place::of(&format!("{SUBNET}/providers/Microsoft.Authorization/locks/l")).expect("a place");
        assert_eq!((place.scope.as_str(), place.kind().as_str()), (SUBNET, "microsoft.authorization/locks"));
        assert!(is_within(SUBNET, "/subscriptions/S/resourceGroups/g/"));
        assert!(!is_within("/subscriptions/s2", "/subscriptions/s"));
    }

    #[test]
    fn an_action_belongs_to_its_thing() {
        let place = Place::of("/subscriptions/s/resourceGroups/g/providers/A.B/machines/m/start").expect("a place");
        let (thing, action) = place.acted_on().expect("an action");
        assert_eq!((thing.is_thing(), thing.name(), action.as_str()), (true, "m", "start"));
    }
}
