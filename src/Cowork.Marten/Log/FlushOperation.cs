using System.Data.Common;
using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;

using JasperFx.Core.Exceptions;
using JasperFx.Events;

using Marten.Exceptions;

using Npgsql;

using Weasel.Core;
using Weasel.Storage;

namespace Cowork.Marten;

/// <summary>The statements of a flush as one operation of Marten's unit of work. The first of them answers the jobs that were made.</summary>
/// <param name="node">Only the jobs that it holds are claims of this node.</param>
sealed partial class FlushOperation(IReadOnlyList<NpgsqlBatchCommand> statements, string node)
    : global::Marten.Internal.Operations.IStorageOperation, IExceptionTransform
{
    public List<Claim> Claims { get; } = [];

    public Type DocumentType => typeof(IEvent);

    public OperationRole Role() => OperationRole.Other;

    public void ConfigureCommand(Weasel.Postgresql.ICommandBuilder builder, IStorageSession session)
    {
        for (var i = 0; i < statements.Count; i++)
        {
            if (i > 0)
            {
                builder.StartNewCommand();
            }
            Add(statements[i], builder);
        }
    }

    public async Task PostprocessAsync(DbDataReader reader, IList<Exception> exceptions, CancellationToken token)
    {
        while (await reader.ReadAsync(token))
        {
            if (!reader.IsDBNull(4) && reader.GetString(4) == node)
            {
                Claims.Add(new(reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3)));
            }
        }
        while (await reader.NextResultAsync(token))
        {
            // Errors of the later statements come up here.
        }
    }

    /// <summary>The writer tells failures apart by what the server said, without what Marten puts around it.</summary>
    public bool TryTransform(Exception original, [NotNullWhen(true)] out Exception? transformed)
    {
        transformed = original is MartenException { InnerException: NpgsqlException inner } ? inner : original;
        return true;
    }

    /// <summary>Puts a command whose parameters stand in its text in their order, each once, into Marten's batch.</summary>
    static void Add(NpgsqlBatchCommand command, Weasel.Postgresql.ICommandBuilder builder)
    {
        var texts = Texts.GetOrAdd(command.CommandText, static text => Placeholder().Split(text));
        builder.Append(texts[0]);
        for (var i = 1; i < texts.Length; i++)
        {
            var parameter = command.Parameters[i - 1];
            builder.AppendParameter(parameter.Value, parameter.NpgsqlDbType);
            builder.Append(texts[i]);
        }
    }

    static readonly System.Collections.Concurrent.ConcurrentDictionary<string, string[]> Texts = new();

    [GeneratedRegex(@"\$[0-9]+")]
    private static partial Regex Placeholder();
}
