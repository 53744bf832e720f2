//! Who may do what: role assignments, and the roles that there are.

use serde_json::{Value, json};

use super::arm::not_served;
use super::ask::{Answer, Asked, Refusal};
use super::place::{Place, is_within, key, name_of};
use super::settings::{CALLER, TENANT};
use super::world::{World, merge, written};
use super::{lists, locks};

/// Well-known roles that read and write blobs, by their last part; only the last may remove a version of one.
pub const BLOB_READER: &str = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1";
pub const BLOB_CONTRIBUTOR: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";
pub const BLOB_OWNER: &str = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b";
const ROLES: [(&str, &str); 4] = [
    (BLOB_READER, "Storage Blob Data Reader"),
    (BLOB_CONTRIBUTOR, "Storage Blob Data Contributor"),
    (BLOB_OWNER, "Storage Blob Data Owner"),
    ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner"),
];

#[derive(Debug, Clone)]
pub(super) struct Role {
    id: String,
    name: String,
    pub scope: String,
    pub properties: Value,
    /// Questions to the blob service for which it does not hold yet: those that only read, and those that do more.
    pub looks: Looks,
}

/// The right to read comes by itself, and not with that to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    pub reads: u32,
    pub writes: u32,
}

impl Role {
    fn view(&self) -> Value {
        json!({"id": self.id, "name": self.name, "type": "Microsoft.Authorization/roleAssignments", "properties": self.properties})
    }

    pub fn text(&self, name: &str) -> &str {
        self.properties[name].as_str().unwrap_or_default()
    }

    /// The role, by the last part of its id.
    pub fn role(&self) -> &str {
        name_of(self.text("roleDefinitionId"))
    }
}

pub(super) fn answer(world: &mut World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let id = format!("{}/providers/Microsoft.Authorization/roleAssignments/{}", place.scope, place.name());
    match (asked.method.as_str(), place.is_thing()) {
        ("PUT", true) => put(world, asked, place, &id),
        ("GET", true) => {
            let absent = || {
                Refusal::new(
                    404,
                    "RoleAssignmentNotFound",
                    format!("The role assignment '{}' is not found.", place.name()),
                )
            };
            world.roles.get(&key(&id)).map(|role| Answer::json(200, &role.view())).ok_or_else(absent)
        }
        ("DELETE", true) => {
            let gone = world.roles.remove(&key(&id));
            Ok(gone.map_or_else(|| Answer::empty(204), |role| Answer::json(200, &role.view())))
        }
        ("GET", false) => list(world, asked, place),
        _ => Err(not_served(asked)),
    }
}

/// Without a filter: all that hold at a scope, and all below it.
fn list(world: &World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let text = asked.parameter("$filter").unwrap_or_default();
    let is_here_only = text.contains("atScope()");
    let filter = lists::filter(
        &text.replace("atScope()", "").replace("assignedTo(", "principalId eq (").replace(['(', ')'], ""),
    )?;
    let fitting = world.roles.values().filter(|role| {
        let is_near = is_within(&place.scope, &role.scope) || (!is_here_only && is_within(&role.scope, &place.scope));
        is_near && lists::holds(&filter, |name| role.properties[name].as_str().map(str::to_owned))
    });
    Ok(lists::page(world, asked, fitting.map(Role::view).collect()))
}

fn put(world: &mut World, asked: &Asked, place: &Place, id: &str) -> Result<Answer, Refusal> {
    let asked = asked.json()["properties"].clone();
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    locks::scope_exists(world, &place.scope)?;
    is_uuid(place.name())?;
    role_exists(&text("roleDefinitionId"))?;
    if asked["condition"].is_string() && text("conditionVersion") != "2.0" {
        let message = "The condition version of a role assignment with a condition must be 2.0.";
        return Err(Refusal::new(400, "InvalidRoleAssignmentConditionVersion", message));
    }
    principal_exists(world, &text("principalId"), &text("principalType"))?;
    let old = world.roles.get(&key(id)).cloned();
    stays(old.as_ref(), &asked)?;
    is_the_only_one(world, place, id, &asked)?;
    let now = written(jiff::Timestamp::now());
    let mut properties = json!({"principalType": "User", "createdOn": now, "createdBy": CALLER});
    merge(&mut properties, &asked);
    merge(&mut properties, &json!({"scope": place.scope, "updatedOn": now, "updatedBy": CALLER}));
    let access = world.settings.looks.access;
    let looks = old.as_ref().map_or(Looks { reads: access, writes: access }, |old| old.looks);
    let role = Role { id: id.to_owned(), name: place.name().to_owned(), scope: place.scope.clone(), properties, looks };
    let shown = role.view();
    world.roles.insert(key(id), role);
    Ok(Answer::json(if old.is_some() { 200 } else { 201 }, &shown))
}

fn is_uuid(name: &str) -> Result<(), Refusal> {
    let lengths: Vec<usize> = name.split('-').map(str::len).collect();
    let is_hex = name.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit());
    if lengths == [8, 4, 4, 4, 12] && is_hex {
        return Ok(());
    }
    Err(Refusal::new(
        400,
        "InvalidRoleAssignmentId",
        format!("The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."),
    ))
}

fn role_exists(id: &str) -> Result<(), Refusal> {
    if ROLES.iter().any(|(known, _)| *known == name_of(id)) {
        return Ok(());
    }
    Err(Refusal::new(
        400,
        "RoleDefinitionDoesNotExist",
        format!("The specified role definition with ID '{}' does not exist.", name_of(id)),
    ))
}

/// A new identity does not show everywhere at once.
fn principal_exists(world: &mut World, principal: &str, sort: &str) -> Result<(), Refusal> {
    let is_new = world.new_principals.get_mut(principal).is_some_and(|left| {
        let waits = *left > 0;
        *left = left.saturating_sub(1);
        waits
    });
    let is_machine = world.principals.contains(principal);
    if is_new || (!is_machine && sort == "ServicePrincipal" && principal != CALLER) {
        let message = format!(
            "Principal {} does not exist in the directory {TENANT}. Check that you have the correct principal ID. If \
             you are creating this principal and then immediately assigning a role, this error might be related to a \
             replication delay. In this case, set the role assignment principalType property to a value, such as \
             ServicePrincipal, User, or Group. See https://aka.ms/docs-principaltype",
            principal.replace('-', "")
        );
        return Err(Refusal::new(400, "PrincipalNotFound", message));
    }
    if is_machine && !["", "ServicePrincipal"].contains(&sort) {
        let message = format!(
            "The PrincipalId '{principal}' has type 'ServicePrincipal', which is different from specified \
             PrinciaplType '{sort}'."
        );
        return Err(Refusal::new(400, "UnmatchedPrincipalType", message));
    }
    Ok(())
}

fn stays(old: Option<&Role>, asked: &Value) -> Result<(), Refusal> {
    let is_same = |role: &Role| {
        role.text("principalId") == asked["principalId"]
            && name_of(asked["roleDefinitionId"].as_str().unwrap_or_default()) == role.role()
    };
    if old.is_none_or(is_same) {
        return Ok(());
    }
    let message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.";
    Err(Refusal::new(400, "RoleAssignmentUpdateNotPermitted", message))
}

fn is_the_only_one(world: &World, place: &Place, id: &str, asked: &Value) -> Result<(), Refusal> {
    let is_twin = |role: &&Role| {
        let same_role = role.role() == name_of(asked["roleDefinitionId"].as_str().unwrap_or_default());
        let same_place = key(&role.scope) == key(&place.scope) && key(&role.id) != key(id);
        same_place && same_role && role.text("principalId") == asked["principalId"]
    };
    match world.roles.values().find(is_twin) {
        None => Ok(()),
        Some(twin) => {
            let message = format!(
                "The role assignment already exists. The ID of the conflicting role assignment is {}.",
                twin.name.replace('-', "")
            );
            Err(Refusal::new(409, "RoleAssignmentExists", message))
        }
    }
}

/// Roles by name or id.
pub(super) fn definitions(world: &World, asked: &Asked, place: &Place) -> Result<Answer, Refusal> {
    let view = |(name, told): &(&str, &str)| {
        let id =
            format!("/subscriptions/{}/providers/Microsoft.Authorization/roleDefinitions/{name}", place.subscription);
        json!({"id": id, "name": name, "type": "Microsoft.Authorization/roleDefinitions",
            "properties": {"roleName": told, "type": "BuiltInRole", "assignableScopes": ["/"], "permissions": []}})
    };
    if place.is_thing() {
        let found = ROLES.iter().find(|(name, _)| *name == place.name());
        let absent = || Refusal::new(404, "RoleDefinitionDoesNotExist", format!("There is no role {}.", place.name()));
        return found.map(|role| Answer::json(200, &view(role))).ok_or_else(absent);
    }
    let filter = lists::filter(&asked.parameter("$filter").unwrap_or_default())?;
    let fitting =
        ROLES.iter().filter(|(_, told)| lists::holds(&filter, |name| (name == "roleName").then(|| (*told).to_owned())));
    Ok(lists::page(world, asked, fitting.map(view).collect()))
}
