namespace Cowork.Application;

/// <summary>Whose a folder is.</summary>
public static class FolderOwner
{
    /// <summary>Gives a folder to a user and a group. Only root can: what another user's process asks for is no more than a wish.</summary>
    public static void Give(string path, uint user, uint group)
    {
        using var folder = Linux.Open(path, out _);
        if (folder is not null)
        {
            _ = Linux.Give(folder, user, group);
        }
    }

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
