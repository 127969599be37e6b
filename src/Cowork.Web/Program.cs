return await Cowork.Web.CoworkHost.Run(args);
