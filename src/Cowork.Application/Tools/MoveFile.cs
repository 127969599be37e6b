using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>move_file {from, to}</c>: gives one file another name, which must be free.</summary>
public sealed class MoveFile(Policy policy, IBlobs blobs) : ITool
{
    public string Name => "move_file";

    public string Description => "Moves or renames one file of the session's folder, making the folders that are missing; it never replaces a file.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["from","to"],"properties":{
          "from":{"type":"string","description":"The file, relative to the session's folder."},
          "to":{"type":"string","description":"Its new name and place, relative to the session's folder."}}}
        """);

    public CallSubject Subject(ToolContext context, JsonElement input)
    {
        var from = PathArgument.Change(context, "move", input, "from");
        // A new name is judged like a new file, and must be one.
        var to = PathArgument.Change(context, "create", input, "to");
        return Both(from, to);
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var from = ToolInput.Text(input, "from", required: true, out var wrongFrom);
        var to = ToolInput.Text(input, "to", required: true, out var wrongTo);
        if ((wrongFrom ?? wrongTo) is { } wrong)
        {
            return ToolOutcome.Error(wrong);
        }
        if (context.Attempt > 1 && await WasMoved(context, from!, to!, ct) is { } moved)
        {
            return moved;
        }
        if (policy.Again(Name, Subject(context, input), context.Granted) is { } refused)
        {
            return refused;
        }
        var (source, why) = GrantedEntry.Open(context.Workspace, from!, make: false);
        using (source)
        {
            if (source is null)
            {
                return ToolOutcome.Error(why!);
            }
            var (target, error) = PathArgument.OpenEntry(
                context, Name, to!, make: true, policy, e => Both(PathArgument.Change("move", source), PathArgument.Change("create", e)));
            using (target)
            {
                if (target is null)
                {
                    return error!;
                }
                // What may fail or be cancelled comes before the effect, so that no effect goes unrecorded.
                var done = await Done(source, source.Relative, target.Relative, ct);
                return source.MoveTo(target) is { } failed ? ToolOutcome.Error($"{source.Relative} was not moved. {failed}") : done;
            }
        }
    }

    static CallSubject Both(CallSubject from, CallSubject to) => new("move", from.Path, from.InsideGrants && to.InsideGrants)
    {
        To = to.Path,
        Invalid = from.Invalid ?? to.Invalid ?? (to.Kind == "overwrite" ? $"{to.Path} is there already." : null),
    };

    async Task<ToolOutcome> Done(GrantedEntry moved, string from, string to, CancellationToken ct)
    {
        var outcome = ToolOutcome.Ok($"Moved {from} to {to}.");
        if (!OutputRoot.Holds(to))
        {
            return outcome;
        }
        await using var content = moved.OpenRead();
        var (sha256, bytes) = await blobs.Put(content, ct);
        return outcome with { Wrote = [new(to, sha256, bytes)] };
    }

    /// <summary>The outcome when an earlier attempt was here: nothing has the old name any more, and a file has the new one.</summary>
    async Task<ToolOutcome?> WasMoved(ToolContext context, string from, string to, CancellationToken ct)
    {
        var (source, _) = GrantedEntry.Open(context.Workspace, from, make: false);
        var (target, _) = GrantedEntry.Open(context.Workspace, to, make: false);
        using (source)
        using (target)
        {
            return source is { Exists: false } && target is { Exists: true, IsDirectory: false, IsLink: false, Untouchable: null }
                ? await Done(target, source.Relative, target.Relative, ct)
                : null;
        }
    }
}
