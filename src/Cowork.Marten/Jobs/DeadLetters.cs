using System.Text.Json;


using Npgsql;

using Wolverine.Persistence.Durability;
using Wolverine.Persistence.Durability.DeadLetterManagement;
using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>A job that failed as often as it may.</summary>
/// <param name="Kind">Of the job.</param>
/// <param name="Key">Of what it was to be done for, for example a run's.</param>
/// <param name="Exception">The type of the last failure.</param>
/// <param name="Replaying">It is about to be tried again.</param>
public sealed record DeadLetter(Guid Id, string OrgId, string Kind, string Key, string Exception, string Message, DateTimeOffset SentAt, bool Replaying);

public sealed record DeadLetterList(IReadOnlyList<DeadLetter> DeadLetters);

/// <summary>The dead letters of jobs.</summary>
public sealed class DeadLetters
{
    /// <summary>More than anybody reads; what does not fit appears when others are gone.</summary>
    const int Most = 1_000;

    readonly Database database;
    readonly Func<IWolverineRuntime> runtime;
    readonly string forget;

    internal DeadLetters(Database database, Func<IWolverineRuntime> runtime)
    {
        (this.database, this.runtime) = (database, runtime);
        forget = $"DELETE FROM {database.Schema}.jobs WHERE tenant_id = $1 AND kind = $2 AND key = $3 AND holder IS NULL AND due > now() + $4";
    }

    IDeadLetters Letters => runtime().Storage.DeadLetters;

    /// <param name="org">Only of this tenant; null: of all.</param>
    internal async Task<IReadOnlyList<DeadLetter>> List(string? org, CancellationToken ct)
    {
        // The tenant stands in the message alone, so that it cannot be asked for.
        var letters = new List<DeadLetter>();
        for (var page = 1; ; page++)
        {
            var found = await Letters.QueryAsync(new() { PageSize = Most, PageNumber = page }, ct);
            letters.AddRange(found.Envelopes.Select(Shown).Where(letter => org is null || letter.OrgId == org).Take(Most - letters.Count));
            if (letters.Count == Most || found.Envelopes.Count < Most)
            {
                return letters;
            }
        }
    }

    internal async Task<DeadLetter?> Find(string? org, Guid id) =>
        await Letters.DeadLetterEnvelopeByIdAsync(id) is { } found && Shown(found) is var letter && (org is null || letter.OrgId == org) ? letter : null;

    /// <summary>Has their jobs tried again. Answers how many there were.</summary>
    internal async Task<int> Replay(string? org, IReadOnlyList<Guid> ids, CancellationToken ct)
    {
        var there = new List<Guid>();
        foreach (var id in ids.Distinct())
        {
            if (await Find(org, id) is not null)
            {
                there.Add(id);
            }
        }
        if (there.Count > 0)
        {
            await Letters.ReplayAsync(new DeadLetterEnvelopeQuery([.. there]), ct);
        }
        return there.Count;
    }

    /// <summary>Forgets the message and the job. False: there is no such message.</summary>
    internal async Task<bool> Discard(string? org, Guid id, CancellationToken ct)
    {
        if (await Find(org, id) is not { } letter)
        {
            return false;
        }
        await database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(forget, connection)
                {
                    Parameters = { Parameter.Text(letter.OrgId), Parameter.Text(letter.Kind), Parameter.Text(letter.Key), new() { Value = LeasedJobs.DeadLettered / 2 } },
                };
                return await command.ExecuteNonQueryAsync(ct);
            },
            ct);
        await Letters.DiscardAsync(new DeadLetterEnvelopeQuery([id]), ct);
        return true;
    }

    static DeadLetter Shown(DeadLetterEnvelope letter)
    {
        var due = letter.Envelope.Data is { Length: > 0 } data ? JsonSerializer.Deserialize<JobDue>(data, JsonSerializerOptions.Web) : null;
        return new(
            letter.Id, letter.Envelope.TenantId ?? "", due?.Kind ?? letter.MessageType, due?.Key ?? "", letter.ExceptionType, letter.ExceptionMessage, letter.SentAt,
            letter.Replayable);
    }
}
