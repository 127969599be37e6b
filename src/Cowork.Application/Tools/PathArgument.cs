using System.Text.Json;

namespace Cowork.Application;

/// <summary>The path of a call, as policy sees it and as a tool opens it: the same steps both times, so that they cannot differ.</summary>
static class PathArgument
{
    /// <summary>What a call on a path would touch.</summary>
    public static CallSubject Subject(ToolContext context, string kind, JsonElement input, string? otherwise)
    {
        var path = ToolInput.Text(input, "path", required: otherwise is null, out var error) ?? otherwise;
        if (error is not null || path is null)
        {
            return new(kind, Invalid: error);
        }
        using var granted = GrantedPath.Open(context.Workspace, path);
        return Subject(kind, granted);
    }

    /// <summary>
    /// Opens the path of a call that policy allowed, and judges what was opened once more: since the verdict a link may have been turned. Answers the
    /// error to tell the model, or null and the open path, which the caller closes.
    /// </summary>
    public static ToolOutcome? Open(ToolContext context, string kind, string tool, JsonElement input, string? otherwise, Policy policy, out GrantedPath.Found found)
    {
        found = null!;
        var path = ToolInput.Text(input, "path", required: otherwise is null, out var error) ?? otherwise;
        if (error is not null || path is null)
        {
            return ToolOutcome.Error(error!);
        }
        var granted = GrantedPath.Open(context.Workspace, path);
        if (policy.Again(tool, Subject(kind, granted), context.Granted) is { } refused)
        {
            granted.Dispose();
            return refused;
        }
        switch (granted)
        {
            case GrantedPath.Found opened:
                found = opened;
                return null;
            case GrantedPath.Missing missing:
                return ToolOutcome.Error($"{Quoted(path)}: {missing.Why}");
            default:
                granted.Dispose();
                return ToolOutcome.Error($"{Quoted(path)} cannot be opened.");
        }
    }

    static CallSubject Subject(string kind, GrantedPath granted) => granted switch
    {
        GrantedPath.Invalid invalid => new(kind, Invalid: invalid.Why),
        GrantedPath.Outside => new(kind, InsideGrants: false),
        GrantedPath.Missing missing => new(kind, missing.Relative),
        GrantedPath.Found found => new(kind, found.Relative),
        _ => throw new System.Diagnostics.UnreachableException(granted.GetType().Name),
    };

    /// <summary>
    /// What a change of a file would touch. What cannot be done anyhow is invalid, so that nobody is asked about it: a link, a folder, a file that has other
    /// names.
    /// </summary>
    /// <param name="kind"><c>create</c>, which may turn out as <c>overwrite</c>; <c>delete</c>, <c>move</c>: the file must be there.</param>
    /// <param name="argument">Name of the argument.</param>
    public static CallSubject Change(ToolContext context, string kind, JsonElement input, string argument)
    {
        var path = ToolInput.Text(input, argument, required: true, out var error);
        if (error is not null)
        {
            return new(kind, Invalid: error);
        }
        using var granted = GrantedPath.Open(context.Workspace, path!);
        var resolved = Subject(kind, granted);
        if (resolved is { Invalid: not null } or { InsideGrants: false })
        {
            return resolved;
        }
        var (entry, why) = GrantedEntry.Open(context.Workspace, path!, make: false);
        using (entry)
        {
            // A folder that is still to be made is no fault of a write.
            return entry is not null ? Change(kind, entry)
                : kind == "create" && why == GrantedEntry.Nothing ? resolved
                : resolved with { Invalid = $"{Quoted(path!)}: {why}" };
        }
    }

    /// <summary>What a change of an open entry would touch.</summary>
    public static CallSubject Change(string kind, GrantedEntry entry)
    {
        var subject = new CallSubject(kind == "create" && entry.Exists ? "overwrite" : kind, entry.Relative);
        var wrong = entry.IsLink ? $"{entry.Relative} is a link; name what it leads to."
            : entry.IsDirectory ? $"{entry.Relative} is a folder."
            : entry.Untouchable is { } why ? $"{entry.Relative}: {why}"
            : !entry.Exists && kind != "create" ? $"There is no file {entry.Relative}."
            : null;
        return subject with { Invalid = wrong };
    }

    /// <summary>Opens the entry of a call that was allowed or approved, and judges what was opened once more. Answers the entry, or the error to tell the model.</summary>
    /// <param name="subject">The whole call's, made of this entry's.</param>
    public static (GrantedEntry? Entry, ToolOutcome? Error) OpenEntry(
        ToolContext context, string tool, string path, bool make, Policy policy, Func<GrantedEntry, CallSubject> subject)
    {
        var (entry, why) = GrantedEntry.Open(context.Workspace, path, make);
        if (entry is null)
        {
            return (null, ToolOutcome.Error($"{Quoted(path)}: {why}"));
        }
        if (policy.Again(tool, subject(entry), context.Granted) is { } refused)
        {
            entry.Dispose();
            return (null, refused);
        }
        return (entry, null);
    }

    static string Quoted(string path) => $"\"{FileText.Cut(path, 200)}\"";
}
