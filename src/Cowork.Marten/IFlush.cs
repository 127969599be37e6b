using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>How a numbered flush gets into the tables: what the engines on PostgreSQL differ in. Used by the writer's thread alone.</summary>
interface IFlush
{
    /// <summary>True: it sends statements that are not of our making, in a transaction that is begun for it.</summary>
    bool InTransaction { get; }

    /// <summary>Makes what it needs in the database beyond the schema's tables, which are there.</summary>
    Task Prepare(CancellationToken ct);

    /// <summary>
    /// Writes the plan and commits it. It takes the head row before anything else, and raises one of <see cref="Schema"/>'s codes when something is not where
    /// the plan thinks. Answers the jobs that <paramref name="node"/> holds from now on.
    /// </summary>
    /// <param name="transaction">One that is under way; null: none is.</param>
    /// <param name="takes">The kinds of jobs that the node takes when they are due at once.</param>
    /// <param name="sending">Called when the plan may reach the server, from where on its fate is not known until there is an answer.</param>
    List<Claim> Write(NpgsqlConnection connection, NpgsqlTransaction? transaction, FlushPlan plan, string node, Func<string, bool> takes, Action sending);

    /// <summary>Puts right what rolling back a refused plan does not.</summary>
    void Restore(NpgsqlConnection connection);
}
