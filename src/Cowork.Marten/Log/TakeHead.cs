using System.Data.Common;
using System.Diagnostics.CodeAnalysis;

using Cowork.Application.Storage;

using JasperFx.Core.Exceptions;
using JasperFx.Events;

using Marten.Exceptions;

using Npgsql;

using Weasel.Core;
using Weasel.Storage;

namespace Cowork.Marten;

/// <summary>
/// What a flush does before Marten writes its events: takes the head row, finishes and makes jobs, and puts the sequence where the log ends, so that the
/// positions which Marten draws from it are those of the plan.
/// </summary>
/// <param name="streams">What the session is about to save.</param>
sealed class TakeHead(NpgsqlBatchCommand append, NpgsqlBatchCommand? setSequence, string node, IList<StreamAction> streams)
    : global::Marten.Internal.Operations.IStorageOperation, IExceptionTransform
{
    /// <summary>Marten's own guard: a stream is not at the expected version.</summary>
    const string VersionMismatch = "MT003";

    public List<Claim> Claims { get; } = [];

    public Type DocumentType => typeof(IEvent);

    public OperationRole Role() => OperationRole.Other;

    public void ConfigureCommand(Weasel.Postgresql.ICommandBuilder builder, IStorageSession session)
    {
        Statement.Add(append, builder);
        if (setSequence is not null)
        {
            builder.StartNewCommand();
            Statement.Add(setSequence, builder);
        }
    }

    public async Task PostprocessAsync(DbDataReader reader, IList<Exception> exceptions, CancellationToken token)
    {
        while (await reader.ReadAsync(token))
        {
            if (NpgsqlFlush.ClaimOf(reader, node) is { } claim)
            {
                Claims.Add(claim);
            }
        }
        if (setSequence is not null)
        {
            await reader.NextResultAsync(token);
        }
    }

    /// <summary>First to hear of any failure of the flush. What the server said goes on as it said it, in the words that the writer knows.</summary>
    public bool TryTransform(Exception original, [NotNullWhen(true)] out Exception? transformed)
    {
        // Marten would fill the positions that a failure has used up with tombstones, in the background. The next flush uses these positions again.
        streams.Clear();
        transformed = original is EventStreamUnexpectedMaxEventIdException || Unwrapped(original) is PostgresException { SqlState: VersionMismatch }
            ? new PostgresException(original.Message, "ERROR", "ERROR", Schema.StreamMoved)
            : Unwrapped(original);
        return true;
    }

    /// <summary>What Npgsql threw, without what Marten put around it.</summary>
    public static Exception Unwrapped(Exception e) => e is MartenException { InnerException: NpgsqlException inner } ? inner : e;
}
