//! Typed access to documents: records with a schema version, read and written without losing what they do not know.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::port::{Document, DocumentKey, Expect, ListOptions, Revision, Store, Txn, Write};

/// A kind of document with a type of its own.
///
/// Fields are only ever added, with a default; what cannot be expressed so raises [`Record::SCHEMA`] and gets a step
/// in [`Record::upcast`].
pub trait Record: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    /// The kind of the documents.
    const KIND: &'static str;

    /// The version of the body's schema that this build writes.
    const SCHEMA: u32 = 1;

    /// The identity of this record.
    fn key(&self) -> DocumentKey;

    /// Values that the record can be found by.
    fn index(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Turns a body written with the older schema `from` into one of [`Record::SCHEMA`].
    ///
    /// # Errors
    /// A sentence that says why the body cannot be read.
    fn upcast(from: u32, body: Value) -> Result<Value, String> {
        if from == Self::SCHEMA { Ok(body) } else { Err(format!("schema {from} is not known")) }
    }
}

/// A record as it is stored, with the commit that last wrote it.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    /// The content.
    pub value: T,
    /// The commit that created it.
    pub created: Revision,
    /// The commit that last wrote it.
    pub modified: Revision,
    key: DocumentKey,
    schema: u32,
    index: BTreeMap<String, String>,
    /// The fields of the stored body that `T` does not know, at their places.
    unknown: Value,
}

impl<T: Record> Stored<T> {
    /// Reads a document.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if a newer version wrote it in a form that this one cannot read, and
    /// [`ErrorKind::Internal`] if the body is damaged. The document stays as it is.
    pub fn decode(document: Document) -> Result<Self> {
        let Document { key, schema, body, index, created, modified } = document;
        let fail = |kind: ErrorKind, source: String| {
            let error =
                Error::new(kind, "read a stored document").with_context("document", &key).with_source(source);
            if kind == ErrorKind::Unsupported {
                error.with_remedy("A newer version of the platform wrote it: upgrade this server.")
            } else {
                error
            }
        };
        let newer = schema > T::SCHEMA;
        let body = if schema < T::SCHEMA {
            T::upcast(schema, body).map_err(|why| fail(ErrorKind::Internal, why))?
        } else {
            body
        };
        let kind = if newer { ErrorKind::Unsupported } else { ErrorKind::Internal };
        let value: T = T::deserialize(&body).map_err(|error| fail(kind, error.to_string()))?;
        let known = serde_json::to_value(&value).map_err(|error| fail(kind, error.to_string()))?;
        let unknown = unknown_fields(&body, &known);
        Ok(Self { value, created, modified, key, schema: schema.max(T::SCHEMA), index, unknown })
    }

    /// A record that is not stored yet: an update of it creates it.
    pub fn new(value: T) -> Self {
        Self {
            created: Revision(0),
            modified: Revision(0),
            key: value.key(),
            schema: T::SCHEMA,
            index: BTreeMap::new(),
            unknown: Value::Null,
            value,
        }
    }

    /// Whether it is stored.
    pub fn exists(&self) -> bool {
        self.modified != Revision(0)
    }

    /// What must hold for nobody else to have changed it since it was read.
    pub fn unchanged(&self) -> Expect {
        if self.exists() {
            Expect::Modified(self.key.clone(), self.modified)
        } else {
            Expect::Absent(self.key.clone())
        }
    }

    /// The identity of the document.
    pub fn key(&self) -> &DocumentKey {
        &self.key
    }

    /// The write that stores the present value, together with everything of the stored body that `T` does not know.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the value cannot be expressed as JSON.
    pub fn write(&self) -> Result<Write> {
        let mut body = encode(&self.value)?;
        restore_unknown(&mut body, &self.unknown);
        let mut index = self.index.clone();
        index.extend(self.value.index());
        Ok(Write::Put { key: self.key.clone(), schema: self.schema, body, index })
    }
}

fn encode<T: Record>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| {
        Error::new(ErrorKind::Internal, "write a document")
            .with_context("document", value.key())
            .with_source(error)
    })
}

/// What `body` has and `known` lacks, as nested objects; `Null` if nothing.
///
/// A field that is absent from `known` because it has its default value there is not unknown: it is only taken for
/// unknown if the body has something else than `null` or an empty value in it.
fn unknown_fields(body: &Value, known: &Value) -> Value {
    let (Value::Object(body), Value::Object(known)) = (body, known) else { return Value::Null };
    let mut unknown = serde_json::Map::new();
    for (name, value) in body {
        match known.get(name) {
            None if !is_empty(value) => {
                unknown.insert(name.clone(), value.clone());
            }
            None => {}
            Some(inner) => {
                let nested = unknown_fields(value, inner);
                if !nested.is_null() {
                    unknown.insert(name.clone(), nested);
                }
            }
        }
    }
    if unknown.is_empty() { Value::Null } else { Value::Object(unknown) }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(_) => false,
    }
}

fn restore_unknown(body: &mut Value, unknown: &Value) {
    let (Value::Object(body), Value::Object(unknown)) = (body, unknown) else { return };
    for (name, value) in unknown {
        match body.get_mut(name) {
            Some(inner) => restore_unknown(inner, value),
            None => {
                body.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Changes that are to be committed together.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    expect: BTreeMap<DocumentKey, Expect>,
    writes: BTreeMap<DocumentKey, Write>,
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Stores a record that must not exist yet.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the record cannot be expressed as JSON.
    pub fn create<T: Record>(&mut self, value: &T) -> Result<()> {
        let key = value.key();
        self.expect.insert(key.clone(), Expect::Absent(key));
        self.put(value)
    }

    /// Stores a record whatever was there before.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the record cannot be expressed as JSON.
    pub fn put<T: Record>(&mut self, value: &T) -> Result<()> {
        let key = value.key();
        let body = encode(value)?;
        self.writes.insert(key.clone(), Write::Put { key, schema: T::SCHEMA, body, index: value.index() });
        Ok(())
    }

    /// Stores the present value of a record that nobody else may have changed since it was read.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the record cannot be expressed as JSON.
    pub fn update<T: Record>(&mut self, stored: &Stored<T>) -> Result<()> {
        self.expect.insert(stored.key.clone(), stored.unchanged());
        self.writes.insert(stored.key.clone(), stored.write()?);
        Ok(())
    }

    /// Removes a record that nobody else may have changed since it was read.
    pub fn remove<T: Record>(&mut self, stored: &Stored<T>) {
        self.expect.insert(stored.key.clone(), stored.unchanged());
        self.delete(stored.key.clone());
    }

    /// Removes a document, whatever it is.
    pub fn delete(&mut self, key: DocumentKey) {
        self.writes.insert(key.clone(), Write::Delete { key });
    }

    /// Adds an expectation, if there is none for this document yet.
    pub fn expect(&mut self, expect: Expect) {
        let (Expect::Modified(key, _) | Expect::Absent(key) | Expect::Exists(key)) = &expect;
        self.expect.entry(key.clone()).or_insert(expect);
    }

    /// The expectations.
    pub fn expectations(&self) -> impl Iterator<Item = &Expect> {
        self.expect.values()
    }

    /// Adds the changes of `other`; its writes win.
    pub fn merge(&mut self, other: Self) {
        self.expect.extend(other.expect);
        self.writes.extend(other.writes);
    }

    /// How many expectations and writes there are.
    pub fn operations(&self) -> usize {
        self.expect.len() + self.writes.len()
    }

    /// The transaction.
    pub fn into_txn(self) -> Txn {
        Txn { expect: self.expect.into_values().collect(), writes: self.writes.into_values().collect() }
    }
}

/// A part of a typed list.
#[derive(Debug, Clone)]
pub struct Records<T> {
    /// The records, in the order of their keys.
    pub items: Vec<Stored<T>>,
    /// Where the next page begins; absent on the last page.
    pub next: Option<DocumentKey>,
    /// The revision that the page shows.
    pub revision: Revision,
}

/// Typed reads of a store.
#[derive(Debug, Clone)]
pub struct Collections {
    store: Arc<dyn Store>,
}

impl Collections {
    /// Typed reads of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The record, or nothing.
    ///
    /// # Errors
    /// Those of the store, and of [`Stored::decode`].
    pub async fn get<T: Record>(&self, key: &DocumentKey) -> Result<Option<Stored<T>>> {
        self.store.get(key).await?.map(Stored::decode).transpose()
    }

    /// A page of records of the kind of `T`; `options.kind` is set by this call.
    ///
    /// # Errors
    /// Those of the store, and of [`Stored::decode`].
    pub async fn page<T: Record>(&self, options: ListOptions) -> Result<Records<T>> {
        let page = self.store.list(&ListOptions { kind: T::KIND.to_owned(), ..options }).await?;
        Ok(Records {
            items: page.documents.into_iter().map(Stored::decode).collect::<Result<_>>()?,
            next: page.next,
            revision: page.revision,
        })
    }

    /// Every record that `options` select, page after page.
    ///
    /// # Errors
    /// Those of the store, and of [`Stored::decode`].
    pub async fn all<T: Record>(&self, options: ListOptions) -> Result<Vec<Stored<T>>> {
        let mut options = ListOptions { limit: None, ..options };
        let mut items = Vec::new();
        loop {
            let page = self.page::<T>(options.clone()).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => options.after = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Every record below exactly `parent`.
    ///
    /// # Errors
    /// Those of the store, and of [`Stored::decode`].
    pub async fn children<T: Record>(&self, parent: impl Into<String>) -> Result<Vec<Stored<T>>> {
        self.all(ListOptions { parent: Some(parent.into()), ..ListOptions::default() }).await
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Note {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default)]
        inner: Inner,
    }

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    struct Inner {
        count: u32,
    }

    impl Record for Note {
        const KIND: &'static str = "note";
        const SCHEMA: u32 = 2;
        fn key(&self) -> DocumentKey {
            DocumentKey::new(Self::KIND, "", &self.name)
        }
        fn upcast(from: u32, mut body: Value) -> Result<Value, String> {
            if from == 1 {
                body["inner"] = json!({ "count": body["count"] });
                body.as_object_mut().expect("an object").remove("count");
            }
            Ok(body)
        }
    }

    fn document(schema: u32, body: Value) -> Document {
        Document {
            key: DocumentKey::new("note", "", "a"),
            schema,
            body,
            index: BTreeMap::from([("colour".to_owned(), "red".to_owned())]),
            created: Revision(1),
            modified: Revision(4),
        }
    }

    #[test]
    fn what_a_newer_version_wrote_survives_a_write_by_this_one() {
        let body = json!({ "name": "a", "text": "x", "inner": { "count": 1, "unit": "kg" }, "later": [1] });
        let mut note = Stored::<Note>::decode(document(3, body)).unwrap();
        note.value.inner.count = 2;
        note.value.text = None;
        let Write::Put { schema, body, index, .. } = note.write().unwrap() else { panic!("a put") };
        assert_eq!(schema, 3, "the schema is not lowered");
        assert_eq!(body, json!({ "name": "a", "inner": { "count": 2, "unit": "kg" }, "later": [1] }));
        assert_eq!(index["colour"], "red", "index values that this version does not know stay");
    }

    #[test]
    fn an_older_body_is_raised_step_by_step() {
        let note = Stored::<Note>::decode(document(1, json!({ "name": "a", "count": 7 }))).unwrap();
        assert_eq!(note.value.inner.count, 7);
        let Write::Put { schema, body, .. } = note.write().unwrap() else { panic!("a put") };
        assert_eq!((schema, body), (2, json!({ "name": "a", "inner": { "count": 7 } })));
    }

    #[test]
    fn a_newer_body_that_cannot_be_read_says_so_and_is_left_alone() {
        let error = Stored::<Note>::decode(document(9, json!({ "title": "a" }))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().contains("upgrade this server"), "{}", error.report());
    }
}
