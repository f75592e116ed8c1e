-- By which rules a book's text was read when it was adopted: it is read by them for ever, so that
-- what is billed by it stays. Those that are there were all read by the first.
ALTER TABLE books ADD COLUMN reading INTEGER NOT NULL DEFAULT 1;
