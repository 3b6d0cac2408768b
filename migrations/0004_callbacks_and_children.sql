-- Callbacks carry a token that only this installation can make (M3), and a repeated one leaves one letter.

CREATE TABLE installation (
  single        boolean  NOT NULL DEFAULT true,
  callback_key  bytea    NOT NULL,
  CONSTRAINT installation_pk PRIMARY KEY (single),
  CONSTRAINT installation_is_one CHECK (single),
  CONSTRAINT installation_callback_key_is_long CHECK (length(callback_key) >= 32)
);

-- Each random UUID brings 122 random bits.
INSERT INTO installation (callback_key)
VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

ALTER TABLE saga_mail ADD COLUMN dedup_key text;
CREATE UNIQUE INDEX saga_mail_once_idx ON saga_mail (bucket, saga_id, dedup_key) WHERE dedup_key IS NOT NULL;
