-- How a key's calls are handled: its share and priority under saturation, its routing, whether it may ask for explanations.
ALTER TABLE keys ADD COLUMN share bigint NOT NULL DEFAULT 1 CHECK (share BETWEEN 1 AND 100);
ALTER TABLE keys ADD COLUMN max_priority text NOT NULL DEFAULT 'normal';
ALTER TABLE keys ADD COLUMN routing text;
ALTER TABLE keys ADD COLUMN explain boolean NOT NULL DEFAULT false;
