namespace Cowork.Application;

/// <summary>Whose a folder is.</summary>
public static class FolderOwner
{
    /// <summary>Why a folder, as it is or where its link leads, is not this process's alone to change: a phrase after "it"; null: it is.</summary>
    public static string? WhyNotOurs(string path)
    {
        using var folder = Linux.Open(path, out _);
        if (folder is null || Linux.Status(folder) is not { } status)
        {
            return "cannot be looked at";
        }
        var mode = (UnixFileMode)(status.Mode & 0x1ff);
        return status.User != Linux.EffectiveUser() ? $"belongs to the user with id {status.User}, and this process acts as {Linux.EffectiveUser()}"
            : (mode & (UnixFileMode.GroupWrite | UnixFileMode.OtherWrite)) != 0 ? $"may be changed by others (mode {Convert.ToString((int)mode, 8)})"
            : null;
    }
}
