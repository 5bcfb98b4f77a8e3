-- The house: accounts, apps and everything that a push, a release and a dyno need.
-- Sealed columns (bytea) hold key id, nonce and AES-256-GCM text bound to table, row and column (store/secrets.ts).

CREATE SEQUENCE epochs;
-- User ids of boxes: an app takes two, one for its dynos and one for its builds.
CREATE SEQUENCE box_uids START 200000;

CREATE TABLE accounts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE authorizations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
  token_sha256 bytea NOT NULL UNIQUE,
  -- The one that SLUICE_API_KEY or the api-key file holds; replaced when that changes.
  owner_key boolean NOT NULL DEFAULT false,
  scope text[] NOT NULL DEFAULT '{global}',
  description text NOT NULL DEFAULT '',
  expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE apps (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  name text NOT NULL UNIQUE,
  owner_id uuid NOT NULL REFERENCES accounts,
  stack text NOT NULL,
  build_stack text NOT NULL,
  maintenance boolean NOT NULL DEFAULT false,
  dyno_uid integer NOT NULL UNIQUE DEFAULT nextval('box_uids'),
  build_uid integer NOT NULL UNIQUE DEFAULT nextval('box_uids'),
  -- Config vars as the API shows them: a sealed JSON object.
  config bytea,
  features jsonb NOT NULL DEFAULT '{}',
  buildpack_provided_description text,
  repo_size bigint NOT NULL DEFAULT 0,
  slug_size bigint NOT NULL DEFAULT 0,
  next_version integer NOT NULL DEFAULT 1,
  released_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- What of a destroyed app is still to be freed on hosts and disk; a row goes when all is gone.
CREATE TABLE leavings (
  app_id uuid PRIMARY KEY,
  name text NOT NULL,
  dyno_uid integer NOT NULL,
  build_uid integer NOT NULL,
  -- Releases keep their command's output on disk.
  release_ids uuid[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE domains (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  hostname text NOT NULL UNIQUE,
  kind text NOT NULL CHECK (kind IN ('heroku', 'custom')),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE slugs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  -- Hex digest of the kept archive; null until its bytes have arrived.
  sha256 text,
  size bigint,
  process_types jsonb NOT NULL,
  stack text NOT NULL,
  commit text,
  commit_description text,
  buildpack_provided_description text,
  checksum text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- The ledger: rows are added, and only `status` ever changes.
CREATE TABLE releases (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  version integer NOT NULL,
  slug_id uuid REFERENCES slugs,
  -- Config vars of then: a sealed JSON object.
  config bytea,
  addon_plan_names text[] NOT NULL DEFAULT '{}',
  description text NOT NULL,
  user_id uuid NOT NULL REFERENCES accounts,
  user_email text NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
  -- Why a release whose dynos never came up is not serving; null when it is.
  trouble text,
  output_token text,
  epoch bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (app_id, version)
);

CREATE TABLE builds (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES accounts,
  user_email text NOT NULL,
  status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
  source_url text,
  source_version text,
  source_version_description text,
  source_checksum text,
  buildpacks jsonb NOT NULL DEFAULT '[]',
  stack text NOT NULL,
  slug_id uuid REFERENCES slugs,
  release_id uuid REFERENCES releases,
  output_token text NOT NULL,
  failure_id text,
  failure_message text,
  epoch bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX builds_pending ON builds (app_id) WHERE status = 'pending';

CREATE TABLE buildpack_installations (
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  ordinal integer NOT NULL,
  name text NOT NULL,
  url text NOT NULL,
  PRIMARY KEY (app_id, ordinal)
);

CREATE TABLE formation (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  type text NOT NULL,
  quantity integer NOT NULL DEFAULT 0 CHECK (quantity >= 0),
  size text NOT NULL DEFAULT 'Basic',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (app_id, type)
);

-- Dynos that shall run: the orders feed is made from these rows, so a new control orders what the old one did.
CREATE TABLE dynos (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  release_id uuid NOT NULL REFERENCES releases ON DELETE CASCADE,
  kind text NOT NULL CHECK (kind IN ('formation', 'run', 'release')),
  type text NOT NULL,
  name text NOT NULL,
  command text NOT NULL,
  size text NOT NULL,
  -- One-offs: extra environment, sealed; formation dynos take the release's config.
  env bytea,
  time_to_live integer NOT NULL DEFAULT 0,
  -- As last reported by the host.
  state text NOT NULL DEFAULT 'starting',
  address text,
  port integer,
  -- Its way through the formation: `queued` waits for the end of the one it follows; `beside` starts next to the
  -- old web dynos and takes no requests yet; `serving`; `replaced` serves until its successor is up; `draining`
  -- is out of the routes and finishes its requests; `stopping` has lost its order, and the host has not yet
  -- said that it is gone.
  phase text NOT NULL DEFAULT 'serving'
    CHECK (phase IN ('queued', 'beside', 'serving', 'replaced', 'draining', 'stopping')),
  -- A client sits at its terminal; ends with control.
  attached boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dynos_app ON dynos (app_id);

CREATE TABLE log_drains (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  token text NOT NULL UNIQUE,
  url bytea NOT NULL,
  -- SHA-256 of the URL, so that a drain is found by URL and not added twice.
  url_sha256 bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (app_id, url_sha256)
);

CREATE TABLE log_sources (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  name text NOT NULL,
  token bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (app_id, name)
);

-- Log sessions that can still be opened; the token is sealed, since it opens the app's log.
CREATE TABLE log_sessions (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  app_id uuid NOT NULL REFERENCES apps ON DELETE CASCADE,
  token bytea NOT NULL,
  tail boolean NOT NULL,
  lines integer NOT NULL,
  source text,
  dyno text,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX log_sessions_app ON log_sessions (app_id);

-- URLs that work without the key: 256 random bits, bound to one object, expiring.
CREATE TABLE capabilities (
  token_sha256 bytea PRIMARY KEY,
  purpose text NOT NULL CHECK (purpose IN ('source_put', 'source_get', 'slug_put', 'slug_get', 'build_output', 'release_output')),
  object_id uuid NOT NULL,
  expires_at timestamptz NOT NULL
);

-- The platform's own keys and certificates (private CA, API and edge certificates): sealed PEM.
CREATE TABLE certificates (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL UNIQUE,
  hosts text[] NOT NULL,
  -- PEM of the authority that signed it.
  issuer text,
  certificate text NOT NULL,
  key bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
