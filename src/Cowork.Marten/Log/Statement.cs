using System.Data.Common;
using System.Text.RegularExpressions;

using JasperFx.Events;

using Npgsql;

using Weasel.Core;
using Weasel.Storage;

namespace Cowork.Marten;

/// <summary>A statement of ours that answers nothing, in Marten's unit of work: it goes with the events, in the order of asking, and not after them.</summary>
sealed partial class Statement(NpgsqlBatchCommand command) : global::Marten.Internal.Operations.IStorageOperation, NoDataReturnedCall
{
    public Type DocumentType => typeof(IEvent);

    public OperationRole Role() => OperationRole.Other;

    public void ConfigureCommand(Weasel.Postgresql.ICommandBuilder builder, IStorageSession session) => Add(command, builder);

    public Task PostprocessAsync(DbDataReader reader, IList<Exception> exceptions, CancellationToken token) => Task.CompletedTask;

    /// <summary>A command whose parameters stand in its text in their order, each once, put into Marten's batch.</summary>
    public static void Add(NpgsqlBatchCommand command, Weasel.Postgresql.ICommandBuilder builder)
    {
        var texts = Placeholder().Split(command.CommandText);
        builder.Append(texts[0]);
        for (var i = 1; i < texts.Length; i++)
        {
            var parameter = command.Parameters[i - 1];
            builder.AppendParameter(parameter.Value, parameter.NpgsqlDbType);
            builder.Append(texts[i]);
        }
    }

    [GeneratedRegex(@"\$[0-9]+")]
    private static partial Regex Placeholder();
}
