"""The tables of an index; `segmented` in them is `chainkit.knowledge.readers.scripts.segmented`."""

from __future__ import annotations

from chainkit.base.sqlite import FileLayout

FORMAT = "4"

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL,
    is_file INTEGER NOT NULL, notes TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS labels (
    name TEXT NOT NULL, value NOT NULL, document INTEGER NOT NULL, PRIMARY KEY (name, value, document)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents (id),
    position INTEGER NOT NULL, headings TEXT NOT NULL, text TEXT NOT NULL,
    page INTEGER, first_line INTEGER, last_line INTEGER
);
CREATE INDEX IF NOT EXISTS passages_of_document ON passages (document, position);
CREATE INDEX IF NOT EXISTS passages_place ON passages (page, first_line, last_line);
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS codes (
    first INTEGER PRIMARY KEY, document INTEGER NOT NULL, passages INTEGER NOT NULL, codes BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS codes_of_document ON codes (document, passages);
CREATE INDEX IF NOT EXISTS codes_place ON codes (first, passages);
CREATE TABLE IF NOT EXISTS sent (target TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (target, name)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    headings, text, content='passages', content_rowid='id',
    tokenize="porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
);
CREATE TRIGGER IF NOT EXISTS document_comes AFTER INSERT ON documents BEGIN
    INSERT INTO labels SELECT key, value, new.id FROM json_each(new.metadata) WHERE value IS NOT NULL;
END;
CREATE TRIGGER IF NOT EXISTS document_goes AFTER DELETE ON documents BEGIN
    DELETE FROM labels WHERE (name, value, document) IN (SELECT key, value, old.id FROM json_each(old.metadata));
END;
CREATE TRIGGER IF NOT EXISTS passage_comes AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, headings, text) VALUES (new.id, segmented(new.headings), segmented(new.text));
END;
CREATE TRIGGER IF NOT EXISTS passage_goes AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, headings, text)
        VALUES ('delete', old.id, segmented(old.headings), segmented(old.text));
    DELETE FROM vectors WHERE id = old.id;
END;
"""
# Temporary tables live in a file of this connection alone: writing them neither locks the index nor shows in it.
STAGE = """
CREATE TEMP TABLE IF NOT EXISTS staged (
    path TEXT NOT NULL, position INTEGER NOT NULL, headings TEXT NOT NULL, text TEXT NOT NULL,
    page INTEGER, first_line INTEGER, last_line INTEGER, vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS temp.staged_path ON staged (path, position);
"""

LAYOUT = FileLayout(1, TABLES, "meta")
