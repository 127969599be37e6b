using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Projections;

namespace Cowork.Cli;

/// <summary><c>cowork rebuild</c> rebuilds the read models from the log beside the live ones, while hosts run; with <c>--check</c> it only compares them.</summary>
static class Rebuild
{
    const string Tree = "merkle_tiles";

    const string Streams = "subject_streams";

    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("rebuild", "--check", options) is not { } given)
        {
            return Usage.Error;
        }
        return await Tables.Open(given.Data, engine => given.HasFlag
            ? Compare(engine.Rows, new(engine.Merkle), engine.SubjectStore)
            : RebuildAll(engine.Rows, new(engine.Merkle), engine.SubjectStore));
    }

    static async Task<int> RebuildAll(IRows rows, MerkleRebuild tree, ISubjectStore subjects)
    {
        var succeeded = true;
        foreach (var model in ReadModels.Tables)
        {
            try
            {
                Console.WriteLine($"{model.Table}: {await rows.Rebuild(model, CancellationToken.None)} events folded");
            }
            catch (Exception e) when (e is FoldException or InvalidOperationException)
            {
                succeeded = false;
                Console.Error.WriteLine($"{model.Table}: not rebuilt, the old rows stay. {e.Message}");
            }
        }
        try
        {
            Console.WriteLine($"{Tree}: {await tree.Rebuild(CancellationToken.None)} events hashed");
        }
        catch (InvalidDataException e)
        {
            succeeded = false;
            Console.Error.WriteLine($"{Tree}: not made anew. {e.Message}");
        }
        Console.WriteLine($"{Streams}: {await subjects.RestoreStreams(CancellationToken.None)} streams restored");
        return succeeded ? 0 : 1;
    }

    static async Task<int> Compare(IRows rows, MerkleRebuild tree, ISubjectStore subjects)
    {
        var equal = true;
        foreach (var model in ReadModels.Tables)
        {
            var difference = await rows.FindDifference(model, CancellationToken.None);
            equal &= difference is null;
            Console.WriteLine(difference is null ? $"{model.Table}: equal to the log" : $"{model.Table}: NOT equal to the log, first at {difference}");
        }
        string? wrong;
        try
        {
            wrong = await tree.FindDifference(CancellationToken.None);
        }
        catch (InvalidDataException e)
        {
            wrong = e.Message;
        }
        equal &= wrong is null;
        Console.WriteLine(wrong is null ? $"{Tree}: equal to the log" : $"{Tree}: NOT equal to the log, first at {wrong}");
        var missing = await subjects.FindMissingStream(CancellationToken.None);
        equal &= missing is null;
        Console.WriteLine(missing is null ? $"{Streams}: equal to the log" : $"{Streams}: NOT equal to the log, first at {missing}");
        return equal ? 0 : 1;
    }
}
