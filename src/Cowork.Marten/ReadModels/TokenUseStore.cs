using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The table of the last uses of tokens, a row for each that was used since it exists.</summary>
sealed class TokenUseStore(Database database) : ITokenUses
{
    readonly string get = $"SELECT token_id, used FROM {database.Schema}.token_uses WHERE tenant_id = $1 AND token_id = ANY ($2)";

    // The order keeps two hosts that write the same tokens from waiting for each other in a circle.
    readonly string put = $"""
        INSERT INTO {database.Schema}.token_uses AS u (tenant_id, token_id, used)
            SELECT * FROM unnest($1, $2, $3) n (tenant_id, token_id, used) ORDER BY 1, 2
        ON CONFLICT (tenant_id, token_id) DO UPDATE SET used = excluded.used WHERE u.used < excluded.used
        """;

    public ValueTask<IReadOnlyList<TokenUse>> Get(string org, IReadOnlyList<TokenKey> tokens, CancellationToken ct) => database.WithReconnect<IReadOnlyList<TokenUse>>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct, new NpgsqlBatchCommand(get) { Parameters = { Parameter.Text(org), Parameter.Texts([.. tokens.Select(token => token.Value)]) } });
            var uses = new List<TokenUse>();
            while (await reader.ReadAsync(ct))
            {
                uses.Add(new(org, new(reader.GetString(0)), reader.GetFieldValue<DateTimeOffset>(1)));
            }
            return uses;
        },
        ct);

    public async ValueTask Put(IReadOnlyList<TokenUse> uses, CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone,
        async connection => await connection.Execute(
            [
                new(put)
                {
                    Parameters =
                    {
                        Parameter.Texts([.. uses.Select(use => use.Org)]), Parameter.Texts([.. uses.Select(use => use.Token.Value)]),
                        Parameter.Times([.. uses.Select(use => use.At.UtcDateTime)]),
                    },
                },
            ],
            ct),
        ct);
}
