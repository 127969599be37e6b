using Npgsql;

namespace Cowork.Marten;

/// <summary>The statements of a flush that write the keys of data subjects and what is sealed under them.</summary>
sealed class SubjectTables(string schema)
{
    readonly string make = $"""
        INSERT INTO {schema}.subject_keys (tenant_id, subject, key_id, master_id, wrapped) SELECT * FROM unnest($1, $2, $3, $4, $5)
        """;

    // The number rises in the order of commits, because the flush holds the head row. Whatever became of the row, it tells of the erasure from now on.
    readonly string destroy = $"""
        INSERT INTO {schema}.subject_keys (tenant_id, subject, key_id, pending, erased)
        SELECT d.tenant_id, d.subject, d.key_id, true, nextval('{schema}.subject_erasures') FROM unnest($1, $2, $3) d (tenant_id, subject, key_id)
        ON CONFLICT (tenant_id, subject) DO UPDATE SET key_id = EXCLUDED.key_id, master_id = NULL, wrapped = NULL, pending = true, erased = EXCLUDED.erased
        """;

    readonly string streams = $"INSERT INTO {schema}.subject_streams (tenant_id, subject, stream_id) SELECT * FROM unnest($1, $2, $3) ON CONFLICT DO NOTHING";

    readonly string blobs = $"""
        INSERT INTO {schema}.subject_blobs (tenant_id, subject, sha256, stored) SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """;

    public void AddTo(List<NpgsqlBatchCommand> statements, FlushPlan plan)
    {
        List<(string Org, Application.Storage.Commit Commit)>? commits = null;
        foreach (var pending in plan.Accepted)
        {
            if (pending.Commit is { SubjectStreams.Count: > 0 } or { SubjectKeys.Count: > 0 })
            {
                (commits ??= []).Add((pending.Commit.Org, pending.Commit));
            }
        }
        if (commits is null)
        {
            return;
        }
        var keys = commits.SelectMany(c => c.Commit.SubjectKeys.Select(key => (c.Org, Key: key))).ToList();
        Add(make, [.. keys.Where(k => k.Key.Wrapped is not null).Select(k => new[] { k.Org, k.Key.Subject, k.Key.KeyId, k.Key.Wrapped!.MasterId, k.Key.Wrapped.Ciphertext })], 5);
        Add(destroy, [.. keys.Where(k => k.Key.Wrapped is null).Select(k => new[] { k.Org, k.Key.Subject, k.Key.KeyId })], 3);
        Add(streams, [.. commits.SelectMany(c => c.Commit.SubjectStreams.Select(s => new[] { c.Org, s.Subject, s.Stream }))], 3);
        Add(blobs, [.. commits.SelectMany(c => c.Commit.SealedBlobs.Select(b => new[] { c.Org, b.Subject, b.Sha256, b.StoredSha256 }))], 4);

        void Add(string sql, string[][] rows, int columns)
        {
            if (rows.Length > 0)
            {
                var command = new NpgsqlBatchCommand(sql);
                for (var i = 0; i < columns; i++)
                {
                    command.Parameters.Add(Parameter.Texts([.. rows.Select(row => row[i])]));
                }
                statements.Add(command);
            }
        }
    }
}
