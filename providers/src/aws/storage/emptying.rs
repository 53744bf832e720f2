//! Removing what lies in a bucket: every version, page by page.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};
use engine::provider::{ErrorKind, ProviderError};

use super::lifecycle::is_kept;
use crate::aws::auth::Aws;
use crate::aws::error::{done_or, found};

/// Where a page begins: after this key and version.
type Marker = (Option<String>, Option<String>);

/// What of a bucket is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed<'a> {
    Everything,
    AllButRecords,
    /// By its key.
    Object(&'a str),
}

impl Doomed<'_> {
    /// Of every key that it names.
    const fn prefix(&self) -> &str {
        match self {
            Self::Everything | Self::AllButRecords => "",
            Self::Object(key) => key,
        }
    }

    fn names(&self, key: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::AllButRecords => !is_kept(key),
            Self::Object(own) => key == *own,
        }
    }
}

/// Removes all versions and delete markers of what is doomed; a bucket that is gone is Ok.
pub async fn remove_versions(aws: &Aws, bucket: &str, doomed: Doomed<'_>) -> Result<(), ProviderError> {
    let mut from = Marker::default();
    while let Some(page) = page(aws, bucket, doomed.prefix(), &from).await? {
        let doomed = versions(&page, doomed, bucket)?;
        if !doomed.is_empty() {
            // The same page again: a marker that names what was just removed leads nowhere.
            remove(aws, bucket, doomed).await?;
        } else if page.is_truncated() == Some(true) {
            from = (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
        } else {
            break;
        }
    }
    Ok(())
}

/// Whether any version lies under a prefix.
pub async fn has_any(aws: &Aws, bucket: &str, prefix: &str) -> Result<bool, ProviderError> {
    let page = page(aws, bucket, prefix, &Marker::default()).await?;
    Ok(page.is_some_and(|page| !page.versions().is_empty() || !page.delete_markers().is_empty()))
}

/// Ends uploads that were begun: their parts are paid for and seen in no list of objects.
pub async fn abort_uploads(aws: &Aws, bucket: &str) -> Result<(), ProviderError> {
    loop {
        let answer = aws.look.s3.list_multipart_uploads().bucket(bucket).send().await;
        let Some(page) = found(format!("uploads to {bucket}"), answer)? else { return Ok(()) };
        for upload in page.uploads() {
            let (key, id) = (upload.key().unwrap_or_default(), upload.upload_id().unwrap_or_default());
            let call = aws.act.s3.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
            done_or(format!("ending an upload to {bucket}"), &["NoSuchUpload", "NoSuchBucket"], call.send().await)?;
        }
        if page.is_truncated() != Some(true) {
            return Ok(());
        }
    }
}

async fn page(
    aws: &Aws,
    bucket: &str,
    prefix: &str,
    (key, version): &Marker,
) -> Result<Option<ListObjectVersionsOutput>, ProviderError> {
    let call = aws.look.s3.list_object_versions().bucket(bucket).prefix(prefix);
    let answer = call.set_key_marker(key.clone()).set_version_id_marker(version.clone()).send().await;
    found(format!("what is in {bucket}"), answer)
}

fn versions(
    page: &ListObjectVersionsOutput,
    doomed: Doomed<'_>,
    bucket: &str,
) -> Result<Vec<ObjectIdentifier>, ProviderError> {
    let versions = page.versions().iter().map(|it| (it.key(), it.version_id()));
    let markers = page.delete_markers().iter().map(|it| (it.key(), it.version_id()));
    let named = versions.chain(markers).filter(|(key, _)| key.is_some_and(|key| doomed.names(key)));
    let identified = |(key, version): (Option<&str>, Option<&str>)| {
        let identifier = ObjectIdentifier::builder().set_key(key.map(str::to_owned));
        identifier.set_version_id(version.map(str::to_owned)).build()
    };
    let all = named.map(identified).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| ProviderError::permanent(bucket, error))
}

/// At most a page of them: S3 takes a thousand, and lists no more.
async fn remove(aws: &Aws, bucket: &str, doomed: Vec<ObjectIdentifier>) -> Result<(), ProviderError> {
    let delete = Delete::builder().set_objects(Some(doomed)).quiet(true).build();
    let delete = delete.map_err(|error| ProviderError::permanent(bucket, error))?;
    let answer = aws.act.s3.delete_objects().bucket(bucket).delete(delete).send().await;
    let Some(answer) = found(format!("emptying {bucket}"), answer)? else { return Ok(()) };
    // The call succeeds even when it removed nothing.
    answer.errors().first().map_or(Ok(()), |error| Err(refused(bucket, error)))
}

fn refused(bucket: &str, error: &Error) -> ProviderError {
    let code = error.code().unwrap_or_default();
    let kind = match code {
        "AccessDenied" => ErrorKind::Credentials,
        "InternalError" | "ServiceUnavailable" | "SlowDown" | "OperationAborted" => ErrorKind::NotYet,
        _ => ErrorKind::Refused,
    };
    let (key, message) = (error.key().unwrap_or_default(), error.message().unwrap_or_default());
    ProviderError::new(kind, format!("emptying {bucket}"), format!("{key}: {message} ({code})"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{DeleteMarkerEntry, ObjectVersion};

    use super::*;

    #[test]
    fn versions_and_delete_markers_go_and_what_is_spared_stays() {
        let version = |key: &str| ObjectVersion::builder().key(key).version_id("1").build();
        let page = ListObjectVersionsOutput::builder()
            .versions(version("audit/a"))
            .versions(version("host/main/desired.json"))
            .delete_markers(DeleteMarkerEntry::builder().key("secrets/api-key").version_id("2").build())
            .build();
        let keys = |doomed| -> Vec<String> {
            versions(&page, doomed, "b").unwrap().iter().map(|it| it.key().to_owned()).collect()
        };
        assert_eq!(keys(Doomed::AllButRecords), ["host/main/desired.json", "secrets/api-key"]);
        assert_eq!(keys(Doomed::Object("secrets/api-key")), ["secrets/api-key"]);
        assert!(keys(Doomed::Object("secrets/api")).is_empty(), "a key is no prefix");
        assert_eq!(keys(Doomed::Everything).len(), 3);
    }

    #[test]
    fn what_s3_refuses_to_remove_is_an_error() {
        let error = Error::builder().key("k").code("SlowDown").message("later").build();
        assert_eq!(refused("b", &error).kind, ErrorKind::NotYet);
        let error = Error::builder().key("k").code("AccessDenied").message("no").build();
        assert_eq!(refused("b", &error).to_string(), "emptying b: k: no (AccessDenied)");
    }
}
